package unlock

import (
	"context"
	"encoding/json"
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
//
// A plan may pin two key servers that know nothing of each other. The mark
// names the one whose rotation it is and the very keyslot that it replaces,
// so that a boot with a grant of the other one leaves it alone.
type Rotation struct {
	Disk      luks2.Storage
	SizeBytes int64
	Node      kms.NodeID
	KMS       kms.Pin // the key that signed the grant
	Mode      kms.Kind
	Memory    *luks2.Memory
	Accept    luks2.Accept // of the header
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
// returns it and the header's seqid for the report. Opened is how this boot
// opened the volume: by the active secret, whose keyslot is removed in the
// end, or by the staged one, which then needs no other.
func (r *Rotation) Stage(ctx context.Context, active, staged secret.Bytes, opened Opened) (next int, seqID uint64, err error) {
	h, err := r.read()
	if err != nil {
		return 0, 0, err
	}
	if opened.Staged {
		return opened.Slot, h.SeqID(), nil
	}

	volume, next, h, err := r.add(ctx, h, active, staged, opened.Slot)
	defer volume.Wipe()
	if err != nil {
		return 0, 0, fmt.Errorf("adding the next keyslot: %w", err)
	}
	if err := r.endEarlier(h, next, opened.Slot); err != nil {
		return 0, 0, err
	}

	seqID, err = r.prove(ctx, volume, staged, next)
	return next, seqID, err
}

// add adds the next keyslot with its mark, in one change of the header,
// unless an earlier boot did. Only keyslots that are marked are tried: the
// others are a person's, and slow.
func (r *Rotation) add(ctx context.Context, h *luks2.Header, active, staged secret.Bytes, slot int) (luks2.VolumeKey, int, *luks2.Header, error) {
	for _, m := range Marks(h) {
		if m.State != MarkRotating || m.Slot < 0 {
			continue
		}
		if volume, _, err := r.unlock(ctx, h, staged, m.Slot); err == nil {
			return volume, m.Slot, h, nil
		} else if !errors.Is(err, luks2.ErrWrongKey) {
			return volume, 0, nil, err
		}
	}

	volume, _, err := r.unlock(ctx, h, active, slot)
	if err != nil {
		return volume, 0, nil, err
	}
	m := Mark{State: MarkRotating, Replaces: slot, Was: fingerprint(h, slot), Node: r.Node, KMS: []kms.Pin{r.KMS}, Mode: r.Mode}
	h, next, err := h.AddKey(r.Disk, volume, luks2.NewKey{
		Passphrase: staged, Slot: luks2.AnySlot, Random: staged.Len() >= randomLength,
		Token: func(slot int) json.RawMessage { m.Slot = slot; return m.JSON() },
	})
	return volume, next, h, err
}

// endEarlier ends the rotations that came before the one to keyslot next.
func (r *Rotation) endEarlier(h *luks2.Header, next, slot int) error {
	for _, m := range Marks(h) {
		if m.State != MarkRotating || m.Slot == next {
			continue
		}
		after, _, err := r.end(h, m, slot)
		if err != nil {
			return err
		}
		h = after
	}
	return nil
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
// given keyslot. It returns how many.
func (r *Rotation) Tidy(opened int) (ended int, err error) {
	h, err := r.read()
	if err != nil {
		return 0, err
	}
	for _, m := range Marks(h) {
		if m.State != MarkRotating {
			continue
		}
		after, done, err := r.end(h, m, opened)
		if err != nil {
			return ended, err
		}
		if h = after; done {
			ended++
		}
	}
	return ended, nil
}

// end ends one rotation, or leaves it alone. If the KMS' active secret
// opened its keyslot, the KMS has committed, and the old keyslot goes,
// whatever key that KMS signs with now. If the secret opened the keyslot
// that was to be replaced, and the KMS is the one whose rotation it is, it
// was called off, and its keyslot goes. Anything else is another KMS'.
func (r *Rotation) end(h *luks2.Header, m Mark, opened int) (_ *luks2.Header, ended bool, err error) {
	ours := m.Ours(Mark{Node: r.Node, KMS: []kms.Pin{r.KMS}})
	switch {
	case m.Slot == opened:
		h, err = r.finish(h, m)
	case ours && m.replaces(h) && m.Replaces == opened:
		h, err = m.Drop(r.Disk, h)
	default:
		return h, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("ending the rotation to keyslot %d: %w", m.Slot, err)
	}
	return h, true, nil
}

// finish removes the keyslot that m's replaces, with its mark if it had
// one.
func (r *Rotation) finish(h *luks2.Header, m Mark) (_ *luks2.Header, err error) {
	if m.replaces(h) && m.Replaces != m.Slot {
		old := Mark{Slot: m.Replaces, Token: -1}
		for _, other := range Marks(h) {
			if other.Slot == old.Slot {
				old = other
			}
		}
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
	h, err := r.Accept.Read(r.Disk, r.SizeBytes)
	if err != nil {
		return nil, err
	}
	return h.Mend(r.Disk)
}

func (r *Rotation) unlock(ctx context.Context, h *luks2.Header, passphrase secret.Bytes, slot int) (luks2.VolumeKey, int, error) {
	return h.Unlock(ctx, r.Disk, luks2.Attempt{Passphrase: passphrase, Slot: slot, Memory: r.Memory})
}
