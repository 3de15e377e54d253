package unlock

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// A Rotation gives a volume its next secret, in a boot that opened it:
//
//  1. the KMS grants the next secret beside the active one
//  2. Stage adds a keyslot for it, marks it, and proves it from the disk
//  3. the machine reports; the KMS makes it the active one and destroys the
//     old one
//  4. the machine asks again, and sees that the active secret opens the new
//     keyslot: Tidy removes the old one
//
// That a report was answered proves nothing: anybody on the wire can, and
// the operator may have called the rotation off meanwhile. After a power cut
// at any point one of the KMS' secrets opens a keyslot, and the next boot
// goes on: with Stage while the KMS has both secrets, else with Tidy.
type Rotation struct {
	Disk      luks2.Storage
	SizeBytes int64
	Node      kms.NodeID // goes into the mark
	KMS       []kms.Pin
	Mode      kms.Kind
	Memory    *luks2.Memory
}

// randomLength is from how many bytes on a secret of the KMS is taken to
// hold 256 random bits: those that it generates are 32 bytes, or 43 letters
// of base64.
const randomLength = 32

// Unfinished tells whether a header has the mark of a rotation.
func Unfinished(h *luks2.Header) bool {
	return slices.ContainsFunc(Marks(h), func(m Mark) bool { return m.State == MarkRotating })
}

// Stage makes sure that the staged secret has a keyslot that opens, and
// returns it and the header's seqid for the report. Slot is the keyslot that
// the active secret opened, to be removed in the end, or -1.
func (r *Rotation) Stage(ctx context.Context, active, staged secret.Bytes, slot int) (next int, seqID uint64, err error) {
	h, err := r.read()
	if err != nil {
		return 0, 0, err
	}

	volume, next, err := r.unlock(ctx, h, staged, luks2.AnySlot)
	if errors.Is(err, luks2.ErrWrongKey) && slot >= 0 {
		if volume, _, err = r.unlock(ctx, h, active, slot); err == nil {
			h, next, err = h.AddKey(r.Disk, volume, luks2.NewKey{Passphrase: staged, Slot: luks2.AnySlot, Random: staged.Len() >= randomLength})
		}
	}
	defer volume.Wipe()
	if err != nil {
		return 0, 0, fmt.Errorf("adding the next keyslot: %w", err)
	}

	if slot < 0 || slot == next { // only the staged one opens: it replaces nothing that is known
		return next, h.SeqID(), nil
	}
	if err := r.mark(h, next, slot); err != nil {
		return 0, 0, err
	}

	seqID, err = r.prove(ctx, volume, staged, next)
	return next, seqID, err
}

// mark marks the next keyslot, and ends earlier rotations.
func (r *Rotation) mark(h *luks2.Header, next, slot int) (err error) {
	marked := false
	for _, m := range Marks(h) {
		switch {
		case m.State != MarkRotating:
		case m.Slot == next:
			marked = true
		default:
			if h, err = r.end(h, m, slot); err != nil {
				return err
			}
		}
	}

	if marked {
		return nil
	}
	_, _, err = h.SetToken(r.Disk, luks2.AnyToken, Mark{Slot: next, State: MarkRotating, Replaces: slot, Node: r.Node, KMS: r.KMS, Mode: r.Mode}.JSON())
	return err
}

// prove reads the disk again and opens the next keyslot.
func (r *Rotation) prove(ctx context.Context, volume luks2.VolumeKey, staged secret.Bytes, next int) (seqID uint64, err error) {
	h, err := r.read()
	if err != nil {
		return 0, err
	}
	again, _, err := r.unlock(ctx, h, staged, next)
	defer again.Wipe()
	if err != nil {
		return 0, fmt.Errorf("proving the next keyslot %d: %w", next, err)
	}
	if again.MAC() != volume.MAC() {
		return 0, fmt.Errorf("proving the next keyslot %d: it gives another volume key", next)
	}
	return h.SeqID(), nil
}

// Tidy ends rotations when the KMS has one secret only, which opened the
// given keyslot.
func (r *Rotation) Tidy(opened int) error {
	h, err := r.read()
	if err != nil {
		return err
	}
	for _, m := range Marks(h) {
		if m.State == MarkRotating {
			if h, err = r.end(h, m, opened); err != nil {
				return err
			}
		}
	}
	return nil
}

// end ends one rotation. If the KMS' active secret opened its keyslot, the
// KMS has committed, and the old keyslot goes; if it opened another one, the
// rotation was called off, and its keyslot goes.
func (r *Rotation) end(h *luks2.Header, m Mark, opened int) (_ *luks2.Header, err error) {
	if m.Slot == opened {
		h, err = r.finish(h, m)
	} else {
		h, err = m.Drop(r.Disk, h)
	}
	if err != nil {
		return nil, fmt.Errorf("ending the rotation to keyslot %d: %w", m.Slot, err)
	}
	return h, nil
}

// finish removes the keyslot that m's replaces, with its mark if it had
// one.
func (r *Rotation) finish(h *luks2.Header, m Mark) (_ *luks2.Header, err error) {
	old := Mark{Slot: m.Replaces, Token: -1}
	for _, other := range Marks(h) {
		if other.Slot == old.Slot && other.Slot >= 0 {
			old = other
		}
	}

	there := slices.ContainsFunc(h.Keyslots(), func(k luks2.Keyslot) bool { return k.ID == old.Slot })
	if there && old.Slot != m.Slot {
		if h, err = old.Drop(r.Disk, h); err != nil {
			return nil, err
		}
	}

	m.State = MarkEnrolled
	h, _, err = h.SetToken(r.Disk, m.Token, m.JSON())
	return h, err
}

// read reads the header for a change. An operator has asked for the
// rotation, and a power cut in it must not stop it for good: a copy of the
// header that the cut left damaged or stale is mended here.
func (r *Rotation) read() (*luks2.Header, error) {
	h, err := luks2.Read(r.Disk, r.SizeBytes)
	if err != nil {
		return nil, err
	}
	return h.Mend(r.Disk)
}

func (r *Rotation) unlock(ctx context.Context, h *luks2.Header, passphrase secret.Bytes, slot int) (luks2.VolumeKey, int, error) {
	return h.Unlock(ctx, r.Disk, luks2.Attempt{Passphrase: passphrase, Slot: slot, Memory: r.Memory})
}
