package luks2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"latchkey/internal/order"
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

	// Memory bounds argon2; nil does not. What wants more is refused before
	// anything is allocated.
	Memory *Memory
}

// Unlock returns the volume key and the keyslot that gave it. The error
// wraps
//
//   - ErrWrongKey, when a keyslot was tried and none opened;
//   - a *Rejected with the code kdf-memory, when a keyslot was not tried
//     because it needs too much memory (and ErrWrongKey, if another one was);
//   - a *Rejected with the code no-usable-keyslot, when the header has
//     keyslots and all are skipped;
//   - ErrNoSlot, when the keyslot asked for is not there, or the reason for
//     which it is skipped.
//
// Any other error comes from r or ctx: then another try may help. A running
// KDF is not interrupted: ctx is looked at before each keyslot.
func (h *Header) Unlock(ctx context.Context, r io.ReaderAt, a Attempt) (VolumeKey, int, error) {
	key, slot, err := h.unlock(ctx, r, a)
	if err != nil {
		return VolumeKey{}, 0, fmt.Errorf("unlocking volume %s: %w", h.uuid, err)
	}
	return VolumeKey{key, h.uuid, h.meta.digest.id, h.format}, slot, nil
}

func (h *Header) unlock(ctx context.Context, r io.ReaderAt, a Attempt) (secret.Bytes, int, error) {
	slots, err := h.order(a.Slot)
	if err != nil {
		return secret.Bytes{}, 0, err
	}

	var wrong, tooBig, failed error
	for _, k := range slots {
		if err := ctx.Err(); err != nil {
			return secret.Bytes{}, 0, err
		}
		key, err := h.tryKeyslot(ctx, r, k, a)
		switch {
		case err == nil:
			return key, k.ID, nil
		case errors.Is(err, ErrWrongKey):
			wrong = err
		case isRejected(err):
			tooBig = err
		default: // one bad sector must not keep the others from being tried
			failed = err
		}
	}

	return secret.Bytes{}, 0, h.verdict(wrong, tooBig, failed)
}

// verdict is the error of Unlock out of what its keyslots gave.
func (h *Header) verdict(wrong, tooBig, failed error) error {
	switch {
	case failed != nil:
		return failed
	case wrong != nil && tooBig != nil:
		return fmt.Errorf("%w; %w", wrong, tooBig)
	case tooBig != nil:
		return tooBig
	case wrong == nil && len(h.Keyslots()) == 0 && len(h.Skipped()) > 0:
		return reject("no-usable-keyslot", "none can be tried: %s", h.skippedText())
	case len(h.Skipped()) > 0: // as text: the key may be that of a skipped one
		return fmt.Errorf("%w; not tried: %s", ErrWrongKey, h.skippedText())
	}
	return ErrWrongKey // also when there is no keyslot to try
}

func (h *Header) skippedText() string {
	var lines []string
	for _, s := range h.Skipped() {
		lines = append(lines, fmt.Sprintf("keyslot %d (%v)", s.ID, s.Reason))
	}
	return strings.Join(lines, ", ")
}

// order lists the keyslots to try: higher priority first as cryptsetup
// does (LUKS2_keyslot_open_priority in lib/luks2/luks2_keyslot.c), then the
// cheap ones, so that a machine's random key in a pbkdf2 slot does not wait
// for the argon2 slot of a person's recovery passphrase.
func (h *Header) order(slot int) ([]Keyslot, error) {
	if slot != AnySlot {
		switch i := h.meta.slot(slot); {
		case i < 0:
			return nil, fmt.Errorf("keyslot %d: %w", slot, ErrNoSlot)
		case h.meta.slots[i].skip != nil:
			return nil, h.meta.slots[i].skip
		default:
			return []Keyslot{h.meta.slots[i].Keyslot}, nil
		}
	}

	slots := slices.DeleteFunc(h.Keyslots(), func(k Keyslot) bool { return k.Priority == 0 })
	order.By(slots, func(a, b Keyslot) int {
		return cmp.Or(b.Priority-a.Priority, cmp.Compare(a.KDF.work(), b.KDF.work()))
	})
	return slots, nil
}

// tryKeyslot returns ErrWrongKey itself when the slot does not open.
func (h *Header) tryKeyslot(ctx context.Context, r io.ReaderAt, k Keyslot, a Attempt) (secret.Bytes, error) {
	release, err := a.Memory.reserve(ctx, k)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer release()
	area := secret.Make(int(k.cryptBytes()))
	defer area.Wipe()
	if err := readFull(r, area.Reveal(), k.areaOffset); err != nil {
		return secret.Bytes{}, fmt.Errorf("reading keyslot %d: %w", k.ID, err)
	}

	areaKey := k.KDF.derive(a.Passphrase, k.areaKeyBytes)
	defer areaKey.Wipe()
	newSectorCipher(k.areaCipher, areaKey.Reveal()).decrypt(area.Reveal(), ivSector, 0)
	key := secret.Make(k.KeyBytes)
	afMerge(key.Reveal(), area.Reveal()[:k.stripeBytes()], k.AFHash)
	if !h.meta.digest.verifies(key) {
		key.Wipe()
		return secret.Bytes{}, ErrWrongKey
	}

	return key, nil
}
