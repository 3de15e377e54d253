package unlock_test

import (
	"errors"
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// A keeper is a KMS as far as one volume goes.
type keeper struct{ active, staged secret.Bytes }

// commit is what a report of the staged secret leads to.
func (k *keeper) commit() { k.active, k.staged = k.staged, secret.Bytes{} }

func rotation(s luks2.Storage) *unlock.Rotation {
	return &unlock.Rotation{Disk: s, SizeBytes: rotateSize, Node: kms.NodeID{1}, KMS: kms.Pin{2}}
}

const rotateSize = 4 << 20

// twoSlots makes a volume with the machine's key(1) in keyslot 0 and a
// recovery key in keyslot 1.
func twoSlots(t *testing.T) luks2test.Disk {
	t.Helper()
	d := make(luks2test.Disk, rotateSize)
	h, volume, err := luks2.Format(d, luks2.NewVolume{UUID: uuid, SizeBytes: rotateSize, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: key(1), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKey(d, volume, luks2.NewKey{Passphrase: key(99), Slot: luks2.AnySlot, Random: true}); err != nil {
		t.Fatal(err)
	}
	return d
}

// opens tells which keyslot a key opens, -1 for none.
func opens(t *testing.T, d luks2test.Disk, k secret.Bytes) int {
	t.Helper()
	h, err := luks2.Read(d, rotateSize)
	if err != nil {
		t.Fatal(err)
	}
	v, slot, err := h.Unlock(ctx, d, luks2.Attempt{Passphrase: k, Slot: luks2.AnySlot})
	if errors.Is(err, luks2.ErrWrongKey) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	v.Wipe()
	return slot
}

// boot is one boot's part in a rotation. The report may get lost, and so
// may the grant that follows.
func boot(t *testing.T, s luks2.Storage, d luks2test.Disk, k *keeper, reports bool) error {
	t.Helper()
	slot := opens(t, d, k.active)
	if k.staged.Len() > 0 {
		how := unlock.Opened{Slot: slot}
		if slot < 0 {
			if how = (unlock.Opened{Slot: opens(t, d, k.staged), Staged: true}); how.Slot < 0 {
				t.Fatal("the volume is lost")
			}
		}
		if _, _, err := rotation(s).Stage(ctx, k.active, k.staged, how); err != nil {
			return err
		}
		if !reports {
			return nil
		}
		k.commit()
		slot = opens(t, d, k.active)
	}

	if slot < 0 {
		t.Fatal("the volume is lost")
	}
	_, err := rotation(s).Tidy(slot)
	return err
}

// state is keyslots and marks, in short.
func state(t *testing.T, d luks2test.Disk) (slots []int, marks []string) {
	t.Helper()
	h, err := luks2.Read(d, rotateSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range h.Keyslots() {
		slots = append(slots, s.ID)
	}
	for _, m := range unlock.Marks(h) {
		marks = append(marks, m.State)
	}
	return slots, marks
}

func TestRotation(t *testing.T) {
	d, k := twoSlots(t), &keeper{key(1), key(2)}
	if err := boot(t, d, d, k, true); err != nil {
		t.Fatal(err)
	}

	slots, marks := state(t, d)
	if !slices.Equal(slots, []int{1, 2}) || !slices.Equal(marks, []string{"enrolled"}) || opens(t, d, key(2)) != 2 || opens(t, d, key(1)) != -1 || opens(t, d, key(99)) != 1 {
		t.Errorf("keyslots %v, marks %q, want recovery and the next key alone", slots, marks)
	}

	// And once more, over the first one's mark.
	k.staged = key(3)
	if err := boot(t, d, d, k, true); err != nil {
		t.Fatal(err)
	}

	if slots, marks = state(t, d); !slices.Equal(slots, []int{0, 1}) || !slices.Equal(marks, []string{"enrolled"}) || opens(t, d, key(3)) != 0 {
		t.Errorf("after the second: keyslots %v, marks %q", slots, marks)
	}
}

// The report is lost for two boots: nothing piles up, and both keys open.
func TestRotationUnreported(t *testing.T) {
	d, k := twoSlots(t), &keeper{key(1), key(2)}
	for range 2 {
		if err := boot(t, d, d, k, false); err != nil {
			t.Fatal(err)
		}
		if slots, marks := state(t, d); !slices.Equal(slots, []int{0, 1, 2}) || !slices.Equal(marks, []string{"rotating"}) {
			t.Errorf("keyslots %v, marks %q, want one more of each", slots, marks)
		}
		if opens(t, d, key(1)) != 0 || opens(t, d, key(2)) != 2 {
			t.Error("one of the two keys does not open")
		}
	}

	if err := boot(t, d, d, k, true); err != nil {
		t.Fatal(err)
	}
	if slots, _ := state(t, d); !slices.Equal(slots, []int{1, 2}) {
		t.Errorf("in the end keyslots %v, want 1 and 2", slots)
	}
}

// The operator calls a rotation off after the keyslot was added: the old
// key stays, whatever was reported.
func TestRotationCalledOff(t *testing.T) {
	for _, next := range []secret.Bytes{{}, key(3)} {
		d, k := twoSlots(t), &keeper{key(1), key(2)}
		if err := boot(t, d, d, k, false); err != nil {
			t.Fatal(err)
		}

		k.staged = next // none, or another one
		if err := boot(t, d, d, k, false); err != nil {
			t.Fatal(err)
		}

		if opens(t, d, key(1)) != 0 || opens(t, d, key(2)) != -1 {
			t.Error("after a rotation was called off: want the old key's slot, and the new one's gone")
		}
		if next.Len() > 0 && opens(t, d, next) < 0 {
			t.Error("the rotation that replaced it has no keyslot")
		}
	}
}

// The KMS committed, and the power went before the old keyslot did.
func TestRotationLeftOver(t *testing.T) {
	d, k := twoSlots(t), &keeper{key(1), key(2)}
	if err := boot(t, d, d, k, false); err != nil {
		t.Fatal(err)
	}
	k.commit()
	k.staged = key(3) // and the operator is eager
	if err := boot(t, d, d, k, true); err != nil {
		t.Fatal(err)
	}
	if slots, marks := state(t, d); len(slots) != 2 || !slices.Equal(marks, []string{"enrolled"}) || opens(t, d, key(3)) < 0 || opens(t, d, key(1)) >= 0 || opens(t, d, key(2)) >= 0 {
		t.Errorf("keyslots %v, marks %q, want recovery and the last key alone", slots, marks)
	}
}

// A header copy that is damaged, by a cut perhaps, is mended on the way.
func TestRotationDamagedCopy(t *testing.T) {
	for _, at := range []int{100, 16<<10 + 100} {
		d, k := twoSlots(t), &keeper{key(1), key(2)}
		d[at] ^= 1
		if err := boot(t, d, d, k, true); err != nil {
			t.Error(err)
		}
		if h, err := luks2.Read(d, rotateSize); err != nil || h.OtherCopy() != luks2.CopySame || opens(t, d, key(2)) < 0 {
			t.Errorf("afterwards: %v, want both copies good and the next key to open", err)
		}
	}
}

// F21, F22: the power is cut at any moment of a rotation, before or after
// the report. What the KMS has opens the volume, and the next boot ends
// what was begun.
func TestRotationPowerCut(t *testing.T) {
	for name, run := range map[string]struct {
		before  bool // a boot that could not report came first
		reports bool
	}{"stage": {false, false}, "whole": {false, true}, "end": {true, true}} {
		t.Run(name, func(t *testing.T) {
			base, k := twoSlots(t), &keeper{key(1), key(2)}
			if run.before {
				if err := boot(t, base, base, k, false); err != nil {
					t.Fatal(err)
				}
			}

			rec := &luks2test.Recorder{Disk: slices.Clone(base)}
			committed := -1 // how many operations came before the report
			if _, _, err := rotation(rec).Stage(ctx, k.active, k.staged, unlock.Opened{Slot: 0}); err != nil {
				t.Fatal(err)
			}

			if run.reports {
				committed = len(rec.Ops)
				if _, err := rotation(rec).Tidy(opens(t, rec.Disk, k.staged)); err != nil {
					t.Fatal(err)
				}
			}

			for _, stage := range []struct {
				kms keeper
				ops []luks2test.Op
				on  luks2test.Disk
			}{
				{keeper{key(1), key(2)}, rec.Ops[:max(committed, 0)], base},
				{keeper{key(2), secret.Bytes{}}, rec.Ops[max(committed, 0):], replay(base, rec.Ops[:max(committed, 0)])},
			} {
				if committed < 0 && stage.kms.staged.Len() == 0 {
					continue
				}
				ops := stage.ops
				if committed < 0 {
					ops = rec.Ops
				}

				part := &luks2test.Recorder{Disk: rec.Disk, Ops: ops}
				part.Cuts(stage.on, func(cut string, d luks2test.Disk) {
					k := stage.kms
					if err := boot(t, d, d, &k, true); err != nil {
						t.Fatalf("cut at %s: the next boot: %v", cut, err)
					}
					if opens(t, d, k.active) < 0 || opens(t, d, key(99)) < 0 {
						t.Fatalf("cut at %s: the volume is lost", cut)
					}
				})
			}
		})
	}
}

func replay(d luks2test.Disk, ops []luks2test.Op) luks2test.Disk {
	d = slices.Clone(d)
	for _, o := range ops {
		copy(d[o.At:], o.Data)
	}
	return d
}
