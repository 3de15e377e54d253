package luks2_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// A recorder is a disk that keeps what was written in which order. Writes
// up to a sync are durable; those behind it may be lost or torn.
type recorder struct {
	disk
	ops []op
}

type op struct {
	data []byte
	at   int64
	sync bool
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.ops = append(r.ops, op{data: slices.Clone(p), at: off})
	return r.disk.WriteAt(p, off)
}

func (r *recorder) Sync() error {
	r.ops = append(r.ops, op{sync: true})
	return nil
}

// cuts yields each state in which a power cut may leave the disk: every
// subset of the writes that were not synced, the last of them torn at
// sector boundaries, in either order of its sectors.
func (r *recorder) cuts(base disk, state func(name string, d disk)) {
	durable := clone(base)
	var pending []op
	state("before", clone(durable))
	for i, o := range r.ops {
		if o.sync {
			for _, p := range pending {
				copy(durable[p.at:], p.data)
			}
			pending = nil
			state(fmt.Sprintf("op %d: synced", i), clone(durable))
			continue
		}
		pending = append(pending, o)
		for subset := range 1 << len(pending) {
			d := clone(durable)
			for bit, p := range pending {
				if subset&(1<<bit) != 0 {
					copy(d[p.at:], p.data)
				}
			}
			state(fmt.Sprintf("op %d: subset %b", i, subset), d)
		}
		for _, at := range tears(len(o.data)) {
			head, tail := clone(durable), clone(durable)
			copy(head[o.at:], o.data[:at])
			copy(tail[o.at+int64(at):], o.data[at:])
			state(fmt.Sprintf("op %d: first %d bytes", i, at), head)
			state(fmt.Sprintf("op %d: all but the first %d bytes", i, at), tail)
		}
	}
}

// tears are where a write of size bytes is torn: in a header copy behind
// and before its checksum, in its JSON text and in the zeros behind that.
func tears(size int) []int {
	if size > hdrSize {
		return []int{size / 2 &^ 511}
	}
	return []int{512, 4096, 4608, 8192}
}

// A power cut at any moment of any change leaves a header that is read and
// that one of the stored keys opens (F21, F22).
func TestPowerCut(t *testing.T) {
	second := random("another random key of 32 bytes!!")
	opens := func(d disk, keys ...string) error {
		h, err := read(d)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if _, _, err = unlock(h, d, k, luks2.AnySlot); err == nil {
				return nil
			}
		}
		return err
	}
	otherKey := string(second.Passphrase.Reveal())
	for _, tt := range []struct {
		name   string
		keys   []string // one of them must open at each cut
		change func(t *testing.T, h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error
	}{
		{"add-key", []string{randomKey}, func(t *testing.T, h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
			_, _, err := h.AddKey(s, key, second)
			return err
		}},
		{"rotate", []string{randomKey, otherKey}, func(t *testing.T, h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
			h, _, err := h.AddKey(s, key, second)
			if err != nil {
				return err
			}
			_, err = h.RemoveKey(s, 0)
			return err
		}},
		{"tokens", []string{randomKey}, func(t *testing.T, h *luks2.Header, key luks2.VolumeKey, s luks2.Storage) error {
			h, id, err := h.SetToken(s, luks2.AnyToken, json.RawMessage(`{"type":"latchkey","keyslots":["0"]}`))
			if err != nil {
				return err
			}
			_, err = h.RemoveToken(s, id)
			return err
		}},
	} {
		for start, harm := range map[string]func(disk){
			"good":              func(disk) {},
			"primary-damaged":   func(d disk) { damage(d, 0) },
			"secondary-damaged": func(d disk) { damage(d, hdrSize) },
			"secondary-newer":   func(d disk) { setSeqID(d, hdrSize, 9) },
		} {
			t.Run(tt.name+"/"+start, func(t *testing.T) {
				_, key, base := format(t)
				harm(base)
				h, err := read(base)
				if err != nil {
					t.Fatal(err)
				}
				rec := &recorder{disk: clone(base)}
				if err := tt.change(t, h, key, rec); err != nil {
					t.Fatal(err)
				}
				rec.cuts(base, func(name string, d disk) {
					if err := opens(d, tt.keys...); err != nil {
						t.Errorf("cut at %s: %v", name, err)
					}
				})
				if h, err := read(rec.disk); err != nil || h.OneCopyDamaged() {
					t.Errorf("afterwards: %v, want both copies good", err)
				}
			})
		}
	}
}

// The checker finds a wrong order: a recorder without syncs, as if the
// header were written in one go, has a cut that loses the volume.
func TestPowerCutChecker(t *testing.T) {
	h, key, base := format(t)
	rec := &recorder{disk: clone(base)}
	if _, _, err := h.AddKey(rec, key, random("another random key of 32 bytes!!")); err != nil {
		t.Fatal(err)
	}
	rec.ops = slices.DeleteFunc(rec.ops, func(o op) bool { return o.sync })
	lost := 0
	rec.cuts(base, func(name string, d disk) {
		// Half of the last write over what earlier ones left unsynced.
		if h, err := read(d); err != nil {
			lost++
		} else if _, _, err := unlock(h, d, "another random key of 32 bytes!!", 1); len(h.Keyslots()) == 2 && err != nil {
			lost++ // the header names a keyslot whose area is not there
		}
	})
	if lost == 0 {
		t.Error("no cut loses anything without syncs: the checker checks nothing")
	}
}

// After a cut in the middle, the same change can be made again.
func TestChangeAfterCut(t *testing.T) {
	h, key, base := format(t)
	h, slot, err := h.AddKey(base, key, random("another random key of 32 bytes!!"))
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{disk: clone(base)}
	if _, err := h.RemoveKey(rec, slot); err != nil {
		t.Fatal(err)
	}
	rec.cuts(base, func(name string, d disk) {
		h, err := read(d)
		if err != nil {
			t.Fatalf("cut at %s: %v", name, err)
		}
		if len(h.Keyslots()) == 2 {
			if h, err = h.RemoveKey(d, slot); err != nil {
				t.Errorf("cut at %s: removing again: %v", name, err)
				return
			}
		}
		h, again, err := h.AddKey(d, key, luks2.NewKey{Passphrase: secret.Own([]byte(randomKey + "2")), Slot: slot, Random: true})
		if err != nil || again != slot {
			t.Errorf("cut at %s: adding again: slot %d, %v", name, again, err)
			return
		}
		if _, _, err := unlock(h, d, randomKey+"2", slot); err != nil {
			t.Errorf("cut at %s: the new key: %v", name, err)
		}
	})
}
