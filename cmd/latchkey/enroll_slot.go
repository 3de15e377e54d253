package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// commit adds the keyslot, proves it and gives its secret to the KMS, in
// this order, so that what the KMS holds always opens something:
//
//  1. the keyslot and, in the same change, the mark "enrolling": cut behind
//     it, a keyslot is left whose secret is gone, and a later run finds it
//  2. the proof, from a fresh reading of the disk
//  3. the KMS takes the secret: from here on the machine boots
//  4. the mark "enrolled"; what earlier runs left is removed
//
// When the KMS says no, 1 is undone.
func (e *enrollment) commit(ctx context.Context, s luks2.Storage, sizeBytes int64) (slot int, err error) {
	passphrase := secret.Random(32)
	defer passphrase.Wipe()
	offer, err := e.offer(ctx, passphrase)
	if err != nil {
		return 0, err
	}
	defer offer.Secret.Wipe()
	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return 0, err
	}

	m := unlock.Mark{State: unlock.MarkEnrolling, Node: e.id.NodeID(), KMS: e.client.Pins, Mode: e.mode}
	mark := func(slot int) json.RawMessage {
		m.Slot = slot
		return m.JSON()
	}
	_, slot, err = h.AddKey(s, e.volume, luks2.NewKey{Passphrase: passphrase, Slot: e.slot, Random: true, Token: mark})
	if err != nil {
		return 0, err
	}

	if err := e.prove(ctx, s, sizeBytes, slot, passphrase, offer); err != nil {
		return 0, errors.Join(err, withdraw(s, sizeBytes, slot))
	}
	if err := e.hand(ctx, s, sizeBytes, h, slot, offer); err != nil {
		return 0, err
	}
	if err := settle(s, sizeBytes, m, e.opened, e.say); err != nil {
		e.say("the volume is enrolled, but its token could not be written: %v", err)
	}

	return slot, nil
}

// hand gives the KMS the secret of the new keyslot, and takes the keyslot
// back when it is sure that the KMS did not take it.
func (e *enrollment) hand(ctx context.Context, s luks2.Storage, sizeBytes int64, before *luks2.Header, slot int, offer kms.Offer) error {
	err := e.put(ctx, offer)
	if err == nil {
		return nil
	}
	// A pending machine's offer is kept until an operator decides.
	if !decided(err) || codes.Of(err) == kms.Pending.Code() {
		e.say("keyslot %d was kept because the KMS may have stored its key: run this command again when the KMS responds", slot)
		return e.exit(err)
	}
	if codes.Of(err) == kms.Exists.Code() {
		if there := e.enrolledIn(before); there >= 0 {
			if err := withdraw(s, sizeBytes, slot); err != nil {
				return err
			}
			return &already{there}
		}
		for _, m := range unlock.Marks(before) {
			if m.Ours(e.mark()) {
				e.say("an earlier run added keyslot %d (%s), and the KMS may hold its key: reboot the machine to find out", m.Slot, m.State)
			}
		}
	}

	return errors.Join(e.exit(err), withdraw(s, sizeBytes, slot))
}

// prove reads the disk again and opens the new keyslot with what comes out
// of the offer.
func (e *enrollment) prove(ctx context.Context, s luks2.Storage, sizeBytes int64, slot int, passphrase secret.Bytes, offer kms.Offer) error {
	if offer.Kind == kms.Bound {
		out, err := e.id.Unseal(ctx, offer.Secret.Reveal())
		defer out.Wipe()
		switch {
		case codes.Of(err) == tpm.CodeSealPolicy: // PCR 15 is used on a running system
		case err != nil:
			return advise(err)
		case !out.Equal(passphrase):
			return errors.New("checking the new key: the TPM returned a different one")
		}
	}

	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return err
	}

	volume, _, err := h.Unlock(ctx, s, luks2.Attempt{Passphrase: passphrase, Slot: slot})
	if err != nil {
		return fmt.Errorf("checking the new keyslot %d: %w", slot, err)
	}
	defer volume.Wipe()
	if volume.MAC() != e.volume.MAC() {
		return fmt.Errorf("checking the new keyslot %d: it yields a different volume key", slot)
	}

	return nil
}
