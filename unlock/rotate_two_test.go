package unlock_test

import (
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// of is the rotation of another key server than rotation's.
func of(pin byte, s luks2.Storage) *unlock.Rotation {
	r := rotation(s)
	r.KMS = kms.Pin{pin}
	return r
}

// Two key servers that know nothing of each other, A with key(1) in keyslot
// 0 and B with key(99) in keyslot 1: what one began, a boot with a grant of
// the other leaves alone (faults/node.md H2).
func TestRotationOfTwoServers(t *testing.T) {
	d := twoSlots(t)
	a := &keeper{key(1), key(2)}
	if _, _, err := of(2, d).Stage(ctx, a.active, a.staged, unlock.Opened{Slot: 0}); err != nil {
		t.Fatal(err)
	}
	a.commit() // and the power goes

	if n, err := of(3, d).Tidy(1); err != nil || n != 0 { // B grants the next boot
		t.Errorf("Tidy with B's grant = %d, %v, want 0", n, err)
	}
	if opens(t, d, a.active) < 0 || opens(t, d, key(99)) < 0 {
		t.Fatal("a key server's only secret opens nothing")
	}

	// B rotates its own, and A's is still under way.
	if _, _, err := of(3, d).Stage(ctx, key(99), key(98), unlock.Opened{Slot: 1}); err != nil {
		t.Fatal(err)
	}
	if n, err := of(3, d).Tidy(opens(t, d, key(98))); err != nil || n != 1 {
		t.Errorf("Tidy of B's own rotation = %d, %v, want 1", n, err)
	}
	if opens(t, d, a.active) < 0 || opens(t, d, key(98)) < 0 || opens(t, d, key(99)) >= 0 {
		t.Error("after B's rotation: want A's secret and B's new one to open, and B's old one not")
	}

	// A is back: its revoked secret goes.
	if n, err := of(2, d).Tidy(opens(t, d, a.active)); err != nil || n != 1 {
		t.Errorf("Tidy of A's own rotation = %d, %v, want 1", n, err)
	}
	if opens(t, d, key(1)) >= 0 || opens(t, d, a.active) < 0 {
		t.Error("A's revoked secret still opens, or its only one does not")
	}
}

// A key server that signs with a new key ends what it committed under the
// old one.
func TestRotationAfterTrustChange(t *testing.T) {
	d := twoSlots(t)
	if _, _, err := of(2, d).Stage(ctx, key(1), key(2), unlock.Opened{Slot: 0}); err != nil {
		t.Fatal(err)
	}
	if n, err := of(7, d).Tidy(opens(t, d, key(2))); err != nil || n != 1 {
		t.Errorf("Tidy = %d, %v, want 1", n, err)
	}
	if opens(t, d, key(1)) >= 0 {
		t.Error("the revoked secret still opens")
	}
}

// The keyslot that was to be replaced is gone, and its number is another's
// by now: that one stays (faults/node.md H2).
func TestRotationReplacesTheVeryKeyslot(t *testing.T) {
	d := twoSlots(t)
	if _, _, err := of(2, d).Stage(ctx, key(1), key(2), unlock.Opened{Slot: 0}); err != nil {
		t.Fatal(err)
	}
	h, err := luks2.Read(d, rotateSize)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = h.RemoveKey(d, 0); err != nil {
		t.Fatal(err)
	}
	volume, _, err := h.Unlock(ctx, d, luks2.Attempt{Passphrase: key(99), Slot: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKey(d, volume, luks2.NewKey{Passphrase: key(50), Slot: 0, Random: true}); err != nil {
		t.Fatal(err)
	}

	if _, err := of(2, d).Tidy(opens(t, d, key(2))); err != nil {
		t.Fatal(err)
	}
	if opens(t, d, key(50)) != 0 || opens(t, d, key(2)) < 0 {
		t.Error("somebody else's keyslot 0 was removed")
	}
}

// Slot and mark are one change of the header: wherever the power goes, a
// rotation that is then called off leaves no keyslot that nobody names
// (faults/node.md M10).
func TestRotationLeavesNoOrphan(t *testing.T) {
	base := twoSlots(t)
	rec := &luks2test.Recorder{Disk: slices.Clone(base)}
	if _, _, err := rotation(rec).Stage(ctx, key(1), key(2), unlock.Opened{Slot: 0}); err != nil {
		t.Fatal(err)
	}
	rec.Cuts(base, func(cut string, d luks2test.Disk) {
		k := &keeper{key(1), secret.Bytes{}} // called off
		if err := boot(t, d, d, k, true); err != nil {
			t.Fatalf("cut at %s: %v", cut, err)
		}
		if slots, marks := state(t, d); !slices.Equal(slots, []int{0, 1}) || len(marks) != 0 {
			t.Fatalf("cut at %s: keyslots %v, marks %q, want 0 and 1 alone", cut, slots, marks)
		}
	})
}
