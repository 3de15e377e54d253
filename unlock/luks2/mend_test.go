package luks2_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// The state of the copy that is not in use is told, a change is refused
// beside a damaged one, and Mend makes both the same, as cryptsetup has
// them, at each power cut (faults/node.md, section 3).
func TestOtherCopy(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(d disk)
		want luks2.CopyState
	}{
		{"same", func(disk) {}, luks2.CopySame},
		{"primary-damaged", func(d disk) { damage(d, 0) }, luks2.CopyDamaged},
		{"primary-magic-gone", func(d disk) { clear(d[:6]) }, luks2.CopyDamaged},
		{"secondary-damaged", func(d disk) { damage(d, hdrSize) }, luks2.CopyDamaged},
		{"secondary-zeroed", func(d disk) { clear(d[hdrSize : 2*hdrSize]) }, luks2.CopyDamaged},
		{"primary-newer", func(d disk) { setSeqID(d, 0, 9) }, luks2.CopyStale},
		{"secondary-newer", func(d disk) { setSeqID(d, hdrSize, 9) }, luks2.CopyStale},
		{"of-one-seqid-with-another-label", func(d disk) { rewrite(d, hdrSize, func(raw []byte) { copy(raw[24:], "old") }) }, luks2.CopyStale},
		{"of-one-seqid-with-another-uuid", func(d disk) { rewrite(d, hdrSize, func(raw []byte) { raw[168] = 'f' }) }, luks2.CopyStale},
		{"of-one-seqid-with-other-json", func(d disk) {
			rewrite(d, hdrSize, func(raw []byte) {
				copy(raw[jsonStart:], bytes.Replace(raw[jsonStart:], []byte(":1000"), []byte(":1001"), 1))
			})
		}, luks2.CopyStale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, base := format(t)
			tt.harm(base)
			h, err := read(base)
			if err != nil || h.OtherCopy() != tt.want {
				t.Fatalf("Read = %v, other copy %v, want %v", err, h.OtherCopy(), tt.want)
			}

			before := clone(base)
			_, _, err = h.SetToken(clone(base), luks2.AnyToken, json.RawMessage(`{"type":"a","keyslots":[]}`))
			if refused := errors.Is(err, luks2.ErrCopyDamaged); refused != (tt.want == luks2.CopyDamaged) {
				t.Errorf("SetToken = %v beside a copy that is %v", err, tt.want)
			}
			if !bytes.Equal(before, base) {
				t.Error("a refused change wrote something")
			}

			rec := &luks2test.Recorder{Disk: clone(base)}
			mended, err := h.Mend(rec)
			if err != nil || mended.OtherCopy() != luks2.CopySame || mended.SeqID() != h.SeqID() {
				t.Fatalf("Mend = %v", err)
			}
			rec.Cuts(base, func(name string, d disk) {
				h, err := read(d)
				if err == nil {
					_, _, err = unlock(h, d, randomKey, luks2.AnySlot)
				}
				if err != nil {
					t.Errorf("cut at %s: %v", name, err)
				}
			})
			cryptsetup(t, "", "luksDump", save(t, rec.Disk))
		})
	}
}

// A header that was changed since it was read is not mended with old data.
func TestMendChanged(t *testing.T) {
	_, _, d := format(t)
	damage(d, hdrSize)
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	setSeqID(d, 0, 9)
	if _, err := h.Mend(d); !errors.Is(err, luks2.ErrChanged) {
		t.Errorf("Mend = %v, want %v", err, luks2.ErrChanged)
	}
}
