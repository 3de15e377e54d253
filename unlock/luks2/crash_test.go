package luks2_test

import (
	"encoding/json"
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

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
			"good":            func(disk) {},
			"secondary-newer": func(d disk) { setSeqID(d, hdrSize, 9) },
			"secondary-stale": func(d disk) { setSeqID(d, 0, 9) },
		} {
			t.Run(tt.name+"/"+start, func(t *testing.T) {
				_, key, base := format(t)
				harm(base)
				h, err := read(base)
				if err != nil {
					t.Fatal(err)
				}

				rec := &luks2test.Recorder{Disk: clone(base)}
				if err := tt.change(t, h, key, rec); err != nil {
					t.Fatal(err)
				}

				rec.Cuts(base, func(name string, d disk) {
					if err := opens(d, tt.keys...); err != nil {
						t.Errorf("cut at %s: %v", name, err)
					}
				})

				if h, err := read(rec.Disk); err != nil || h.OtherCopy() != luks2.CopySame {
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
	rec := &luks2test.Recorder{Disk: clone(base)}
	if _, _, err := h.AddKey(rec, key, random("another random key of 32 bytes!!")); err != nil {
		t.Fatal(err)
	}

	rec.Ops = slices.DeleteFunc(rec.Ops, func(o luks2test.Op) bool { return o.Sync })
	lost := 0
	rec.Cuts(base, func(name string, d disk) {
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

	rec := &luks2test.Recorder{Disk: clone(base)}
	if _, err := h.RemoveKey(rec, slot); err != nil {
		t.Fatal(err)
	}

	rec.Cuts(base, func(name string, d disk) {
		h, err := read(d)
		if err != nil {
			t.Fatalf("cut at %s: %v", name, err)
		}

		if h, err = h.Mend(d); err != nil {
			t.Fatalf("cut at %s: mending: %v", name, err)
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
