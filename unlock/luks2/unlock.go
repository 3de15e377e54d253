package luks2

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"latchkey/internal/secret"
)

// ErrWrongKey means that the passphrase opens none of the slots tried.
var ErrWrongKey = errors.New("no keyslot opens with this key")

// ErrNoSlot means that the keyslot asked for is not there.
var ErrNoSlot = errors.New("no such keyslot")

// AnySlot tries all keyslots.
const AnySlot = -1

// Attempt is one try to open a volume.
type Attempt struct {
	Passphrase secret.Bytes
	Slot       int // a keyslot ID, or AnySlot

	// FreeBytes is the memory that is free now. Argon2 gets at most half
	// of it; what wants more is refused before anything is allocated. 0
	// means unknown.
	FreeBytes int64
}

// Unlock returns the volume key and the keyslot that gave it. The error
// wraps ErrWrongKey when a slot was tried and none opened, a *Rejected with
// the code kdf-memory when a slot was not tried because it needs too much
// memory (both, when both happened), ErrNoSlot when the slot asked for is
// not there, or it comes from r or ctx: then another try may help. A running
// KDF is not interrupted: ctx is looked at before each slot.
func (h *Header) Unlock(ctx context.Context, r io.ReaderAt, a Attempt) (VolumeKey, int, error) {
	slots, err := h.order(a.Slot)
	if err != nil {
		return VolumeKey{}, 0, err
	}

	var wrong, tooBig, failed error
	for _, k := range slots {
		if err := ctx.Err(); err != nil {
			return VolumeKey{}, 0, fmt.Errorf("unlocking volume %s: %w", h.uuid, err)
		}
		key, err := h.tryKeyslot(r, k, a)
		switch {
		case err == nil:
			return VolumeKey{key, h.uuid, h.meta.digest.id, h.luks1}, k.ID, nil
		case errors.Is(err, ErrWrongKey):
			wrong = err
		case isRejected(err):
			tooBig = err
		default: // one bad sector must not keep the others from being tried
			failed = err
		}
	}

	return VolumeKey{}, 0, fmt.Errorf("unlocking volume %s: %w", h.uuid, verdict(wrong, tooBig, failed))
}

// verdict is the error of Unlock out of what its keyslots gave.
func verdict(wrong, tooBig, failed error) error {
	switch {
	case failed != nil:
		return failed
	case wrong != nil && tooBig != nil:
		return fmt.Errorf("%w; %w", wrong, tooBig)
	case tooBig != nil:
		return tooBig
	}
	return ErrWrongKey // also when there is no keyslot to try
}

// order lists the keyslots to try: higher priority first as cryptsetup
// does (LUKS2_keyslot_open_priority in lib/luks2/luks2_keyslot.c), then the
// cheap ones, so that a machine's random key in a pbkdf2 slot does not wait
// for the argon2 slot of a person's recovery passphrase.
func (h *Header) order(slot int) ([]Keyslot, error) {
	slots := h.Keyslots()
	if slot != AnySlot {
		i := slices.IndexFunc(slots, func(k Keyslot) bool { return k.ID == slot })
		if i < 0 {
			return nil, fmt.Errorf("unlocking volume %s with keyslot %d: %w", h.uuid, slot, ErrNoSlot)
		}
		return slots[i : i+1], nil
	}
	slots = slices.DeleteFunc(slots, func(k Keyslot) bool { return k.Priority == 0 })
	slices.SortStableFunc(slots, func(a, b Keyslot) int {
		return cmp.Or(b.Priority-a.Priority, a.KDF.MemoryKiB-b.KDF.MemoryKiB, a.KDF.Iterations-b.KDF.Iterations)
	})
	return slots, nil
}

// tryKeyslot returns ErrWrongKey itself when the slot does not open.
func (h *Header) tryKeyslot(r io.ReaderAt, k Keyslot, a Attempt) (secret.Bytes, error) {
	if need := k.KDF.memoryBytes(); a.FreeBytes > 0 && need > a.FreeBytes/2 {
		return secret.Bytes{}, reject("kdf-memory", "keyslot %d needs %d MiB, half of the free memory is %d MiB", k.ID, need>>20, a.FreeBytes>>21)
	}
	area := secret.Make(h.meta.keyBytes * stripes)
	defer area.Wipe()
	if err := readFull(r, area.Reveal(), k.areaOffset); err != nil {
		return secret.Bytes{}, fmt.Errorf("reading keyslot %d: %w", k.ID, err)
	}

	areaKey := k.KDF.derive(a.Passphrase, h.meta.keyBytes)
	defer areaKey.Wipe()
	newXTS(areaKey.Reveal()).decrypt(area.Reveal(), ivSector, 0)
	key := secret.Make(h.meta.keyBytes)
	afMerge(key.Reveal(), area.Reveal(), k.AFHash)
	if !h.meta.digest.verifies(key) {
		key.Wipe()
		return secret.Bytes{}, ErrWrongKey
	}

	return key, nil
}

func (d digest) verifies(key secret.Bytes) bool {
	sum := pbkdf2(newHash(d.hash), key, d.salt, d.iterations, len(d.value))
	return subtle.ConstantTimeCompare(sum.Reveal(), d.value) == 1
}
