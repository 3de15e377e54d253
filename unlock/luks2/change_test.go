package luks2_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// lying drops writes of keyslot areas, as a failing disk may.
type lying struct{ disk }

func (l lying) WriteAt(p []byte, off int64) (int, error) {
	if len(p) > hdrSize {
		return len(p), nil
	}
	return l.disk.WriteAt(p, off)
}

// A keyslot that does not read back is never named in the header.
func TestAddKeyReadsBack(t *testing.T) {
	h, key, d := format(t)
	before := clone(d)
	if _, _, err := h.AddKey(lying{d}, key, random(randomKey)); err == nil {
		t.Error("AddKey on a disk that loses writes succeeds")
	}
	if !bytes.Equal(before, d) {
		t.Error("AddKey changed the header")
	}
}

// Formatting refuses what is not proven empty, and changes nothing then.
func TestFormatEmptiness(t *testing.T) {
	for _, tt := range []struct {
		name      string
		at        int
		overwrite bool
		want      string
	}{
		{"ext4-magic", 1080, false, "not-empty"},
		{"last-byte-before-payload", 1<<20 - 1, false, "not-empty"},
		{"second-gpt", 4<<20 - 512, false, "not-empty"},
		{"payload-start", 1 << 20, false, "not-empty"},
		{"overwrite", 1080, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := make(disk, 4<<20)
			d[tt.at] = 0x53
			before := clone(d)
			_, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: int64(len(d)), OffsetBytes: 1 << 20, Overwrite: tt.overwrite}, random(randomKey))
			if code(err) != tt.want {
				t.Errorf("Format = %v, want code %q", err, tt.want)
			}
			if err != nil && !bytes.Equal(before, d) {
				t.Error("Format changed what it refused")
			}
		})
	}
	d := failing{make(disk, 4<<20), 0, 512}
	if _, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20}, random(randomKey)); !errors.Is(err, errBadSector) {
		t.Errorf("Format of an unreadable disk = %v, want %v", err, errBadSector)
	}
}

func TestFormatRefuses(t *testing.T) {
	long := luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20, Label: strings.Repeat("x", 48)}
	ok := luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20}
	with := func(change func(*luks2.NewVolume)) luks2.NewVolume { v := ok; change(&v); return v }
	for _, tt := range []struct {
		name string
		v    luks2.NewVolume
		key  luks2.NewKey
		want string
	}{
		{"label", long, random(randomKey), "label"},
		{"uuid", with(func(v *luks2.NewVolume) { v.UUID = "x" }), random(randomKey), "uuid"},
		{"sector", with(func(v *luks2.NewVolume) { v.SectorBytes = 1536 }), random(randomKey), "segment-sector"},
		{"small-device", with(func(v *luks2.NewVolume) { v.SizeBytes = 1 << 20 }), random(randomKey), "segment-range"},
		{"early-payload", with(func(v *luks2.NewVolume) { v.OffsetBytes = 4096 }), random(randomKey), "segment-overlap"},
		{"slot", ok, luks2.NewKey{Passphrase: secret.Random(32), Slot: 32}, "keyslot-count"},
		{"memory", ok, luks2.NewKey{Passphrase: secret.Random(32), MemoryKiB: 4<<20 + 1}, "kdf-memory"},
	} {
		if _, _, err := luks2.Format(make(disk, 4<<20), tt.v, tt.key); code(err) != tt.want {
			t.Errorf("%s: Format = %v, want code %q", tt.name, err, tt.want)
		}
	}

	for _, pass := range []string{"", "short"} {
		if _, _, err := luks2.Format(make(disk, 4<<20), ok, random(pass)); err == nil {
			t.Errorf("Format with %q as random key succeeds", pass)
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	h, key, d := format(t)
	_, other, _ := format(t)
	if _, _, err := h.AddKey(d, other, random(randomKey)); !errors.Is(err, luks2.ErrWrongKey) {
		t.Errorf("AddKey with another volume's key = %v, want %v", err, luks2.ErrWrongKey)
	}
	if _, err := h.RemoveKey(d, 0); !errors.Is(err, luks2.ErrLastSlot) {
		t.Errorf("RemoveKey of the last keyslot = %v, want %v", err, luks2.ErrLastSlot)
	}

	if _, err := h.RemoveKey(d, 3); !errors.Is(err, luks2.ErrNoSlot) {
		t.Errorf("RemoveKey of keyslot 3 = %v, want %v", err, luks2.ErrNoSlot)
	}
	for name, token := range map[string]string{
		"not-json":   `{`,
		"two-tokens": `{"type":"a","keyslots":[]},"9":{"type":"b","keyslots":[]}`,
		"duplicate":  `{"type":"a","type":"b","keyslots":[]}`,
		"no-type":    `{"keyslots":[]}`,
		"bad-slot":   `{"type":"a","keyslots":["7"]}`,
		"too-big":    `{"type":"a","keyslots":[],"x":"` + strings.Repeat("x", 12<<10) + `"}`,
	} {
		before := clone(d)
		if _, _, err := h.SetToken(d, luks2.AnyToken, json.RawMessage(token)); code(err) == "" {
			t.Errorf("%s: SetToken = %v, want a refusal", name, err)
		}
		if !bytes.Equal(before, d) {
			t.Errorf("%s: SetToken changed the disk", name)
		}
	}

	if _, _, err := h.AddKey(d, key, random(randomKey)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKey(d, key, random(randomKey)); !errors.Is(err, luks2.ErrChanged) {
		t.Errorf("AddKey through an old header = %v, want %v", err, luks2.ErrChanged)
	}
}

// 32 keyslots do not fit in 1 MiB of keyslots area: the error comes before
// anything is written, and a freed area is used again.
func TestKeyslotsFull(t *testing.T) {
	h, key, d := format(t)
	var err error
	for err == nil {
		var next *luks2.Header
		if next, _, err = h.AddKey(d, key, random(randomKey)); err == nil {
			h = next
		}
	}
	if code(err) != "keyslot-area" || len(h.Keyslots()) != 3 {
		t.Errorf("AddKey to a full area = %v with %d keyslots, want keyslot-area with 3", err, len(h.Keyslots()))
	}

	if h, err = h.RemoveKey(d, 1); err != nil {
		t.Fatal(err)
	}
	if h, slot, err := h.AddKey(d, key, random(randomKey)); err != nil || slot != 1 {
		t.Errorf("AddKey after RemoveKey = slot %d, %v, want 1", slot, err)
	} else if _, _, err := unlock(h, d, randomKey, 2); err != nil {
		t.Errorf("keyslot 2 afterwards: %v", err)
	}
}

// The subset digest and the MAC stay when keys and tokens change, and
// differ between two volumes with one UUID (A1).
func TestIdentity(t *testing.T) {
	h, key, d := format(t)
	changed, _, err := h.AddKey(d, key, random(randomKey))
	if err != nil {
		t.Fatal(err)
	}

	if changed, _, err = changed.SetToken(d, 0, json.RawMessage(`{"type":"a","keyslots":[]}`)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.SubsetDigest(), changed.SubsetDigest()); diff != "" {
		t.Errorf("SubsetDigest changed with a key (-want +got):\n%s", diff)
	}

	fake, fakeKey, _ := format(t)
	if fake.SubsetDigest() == h.SubsetDigest() || fakeKey.MAC() == key.MAC() {
		t.Error("two volumes with one UUID have one identity")
	}
}
