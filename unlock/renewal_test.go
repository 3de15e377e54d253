package unlock_test

import (
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// files are a key file and the next one beside it.
type files struct{ key, next secret.Bytes }

// renew is one run of the command, with the files as they are. The second
// file takes the first one's place in the middle.
func renew(s luks2.Storage, f *files, half bool) error {
	r := &unlock.Renewal{Disk: s, SizeBytes: rotateSize}
	if f.next.Len() == 0 {
		if removed, err := r.Finish(ctx, f.key); err != nil || len(removed) > 0 {
			return err
		}
		f.next = key(50)
	}
	if _, _, err := r.Stage(ctx, f.key, luks2.NewKey{Passphrase: f.next, Slot: luks2.AnySlot, Random: true}); err != nil {
		return err
	}
	f.key, f.next = f.next, secret.Bytes{}
	if half {
		return nil
	}
	_, err := r.Finish(ctx, f.key)
	return err
}

func TestRenewal(t *testing.T) {
	d, f := twoSlots(t), &files{key: key(1)}
	if err := renew(d, f, false); err != nil {
		t.Fatal(err)
	}
	h, err := luks2.Read(d, rotateSize)
	if err != nil {
		t.Fatal(err)
	}
	if opens(t, d, key(50)) != 2 || opens(t, d, key(1)) != -1 || opens(t, d, key(99)) != 1 || len(h.Tokens()) != 0 {
		t.Errorf("after a renewal: keyslots %d, tokens %v", len(h.Keyslots()), h.Tokens())
	}
}

// The same next key gets one keyslot, however often it is staged.
func TestRenewalTwice(t *testing.T) {
	d := twoSlots(t)
	r := &unlock.Renewal{Disk: d, SizeBytes: rotateSize}
	for range 2 {
		slot, replaces, err := r.Stage(ctx, key(1), luks2.NewKey{Passphrase: key(50), Slot: luks2.AnySlot, Random: true})
		if err != nil || slot != 2 || replaces != 0 {
			t.Fatalf("Stage = %d, %d, %v, want keyslot 2 in place of 0", slot, replaces, err)
		}
	}
	if slots, _ := state(t, d); len(slots) != 3 {
		t.Errorf("keyslots %v, want three", slots)
	}
}

// The old key's keyslot stays until somebody runs it again, for as long as an
// image has the old key, say; and only the new key ends it.
func TestRenewalHalf(t *testing.T) {
	d, f := twoSlots(t), &files{key: key(1)}
	if err := renew(d, f, true); err != nil {
		t.Fatal(err)
	}
	h, err := luks2.Read(d, rotateSize)
	if err != nil || unlock.Renewals(h)[2] != 0 || len(unlock.Renewals(h)) != 1 {
		t.Fatalf("Renewals = %v, %v, want keyslot 2 to replace keyslot 0", unlock.Renewals(h), err)
	}
	r := &unlock.Renewal{Disk: d, SizeBytes: rotateSize}
	if _, _, err := r.Stage(ctx, key(50), luks2.NewKey{Passphrase: key(51), Slot: luks2.AnySlot, Random: true}); err == nil || opens(t, d, key(51)) != -1 {
		t.Fatal("Stage before the earlier one has ended: want an error, or keyslot 0 is forgotten")
	}
	for _, k := range []secret.Bytes{key(1), key(99), key(7)} {
		if removed, err := r.Finish(ctx, k); err != nil || removed != nil || opens(t, d, key(1)) != 0 {
			t.Fatalf("Finish with another key removed %v, %v", removed, err)
		}
	}
	if removed, err := r.Finish(ctx, key(50)); err != nil || !slices.Equal(removed, []int{0}) || opens(t, d, key(50)) != 2 {
		t.Errorf("Finish = %v, %v, want keyslot 0", removed, err)
	}
}

// A next key that was lost before it took the old one's place leaves no
// keyslot behind, and a keyslot that has the old one's number is another's.
func TestRenewalLeavesNothing(t *testing.T) {
	d := twoSlots(t)
	r := &unlock.Renewal{Disk: d, SizeBytes: rotateSize}
	for _, n := range []byte{60, 61} { // both are lost
		if _, _, err := r.Stage(ctx, key(1), luks2.NewKey{Passphrase: key(n), Slot: luks2.AnySlot, Random: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := renew(d, &files{key: key(1)}, false); err != nil {
		t.Fatal(err)
	}
	if slots, _ := state(t, d); len(slots) != 2 || opens(t, d, key(60)) != -1 || opens(t, d, key(61)) != -1 {
		t.Errorf("keyslots %v are left, want two", slots)
	}

	d = twoSlots(t)
	r.Disk = d
	if err := renew(d, &files{key: key(1)}, true); err != nil {
		t.Fatal(err)
	}
	h, err := luks2.Read(d, rotateSize)
	if err != nil {
		t.Fatal(err)
	}
	volume, _, err := h.Unlock(ctx, d, luks2.Attempt{Passphrase: key(99), Slot: luks2.AnySlot})
	if err == nil {
		h, err = h.RemoveKey(d, 0)
	}
	if err == nil {
		_, _, err = h.AddKey(d, volume, luks2.NewKey{Passphrase: key(70), Slot: 0, Random: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := r.Finish(ctx, key(50)); err != nil || removed != nil || opens(t, d, key(70)) != 0 {
		t.Errorf("Finish = %v, %v: keyslot 0 is another one by now, and must stay", removed, err)
	}
}

// F21, F22: the power is cut before or after any write of a renewal. What is
// in the two files opens the volume, and another run ends it.
func TestRenewalPowerCut(t *testing.T) {
	base := twoSlots(t)
	f := &files{key: key(1), next: key(50)}
	rec := &luks2test.Recorder{Disk: slices.Clone(base)}
	if err := renew(rec, f, true); err != nil {
		t.Fatal(err)
	}
	moved := len(rec.Ops) // then the file takes the other's place
	if _, err := (&unlock.Renewal{Disk: rec, SizeBytes: rotateSize}).Finish(ctx, key(50)); err != nil {
		t.Fatal(err)
	}
	if moved == 0 || moved == len(rec.Ops) {
		t.Fatalf("%d operations, %d of them before the files change: the test shows nothing", len(rec.Ops), moved)
	}

	for _, part := range []struct {
		files
		ops []luks2test.Op
		on  luks2test.Disk
	}{
		{files{key(1), key(50)}, rec.Ops[:moved], base},
		{files{key(50), secret.Bytes{}}, rec.Ops[moved:], replay(base, rec.Ops[:moved])},
	} {
		(&luks2test.Recorder{Ops: part.ops}).Cuts(part.on, func(cut string, d luks2test.Disk) {
			if opens(t, d, part.key) < 0 && (part.next.Len() == 0 || opens(t, d, part.next) < 0) {
				t.Fatalf("cut at %s: the volume is lost", cut)
			}
			now := part.files
			if err := renew(d, &now, false); err != nil {
				t.Fatalf("cut at %s: again: %v", cut, err)
			}
			slots, _ := state(t, d)
			if opens(t, d, now.key) < 0 || opens(t, d, key(99)) != 1 || opens(t, d, key(1)) >= 0 || len(slots) != 2 {
				t.Fatalf("cut at %s: again: keyslots %v", cut, slots)
			}
		})
	}
}
