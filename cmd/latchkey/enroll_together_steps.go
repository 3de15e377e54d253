package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/together"
	"latchkey/unlock/tpm"
)

// A togetherEnrollment is what the steps of one share.
type togetherEnrollment struct {
	*enrollment
	tpmPath, partFile string
	chip              *tpm.TPM
	request           cryptenroll.Request
	ways              [][]string // kinds of sources, in the order of tokens

	parts map[string]secret.Bytes // of the sources that have one for all keyslots
	made  []madeKeyslot
}

// run is the whole enrollment. Until the KMS takes this machine for one that
// is approved, the device is only read.
func (t *togetherEnrollment) run(ctx context.Context, path, keyFile string) error {
	if err := t.enrollment.unlock(ctx, path, keyFile); err != nil {
		return err
	}
	if err := t.readParts(); err != nil {
		return err
	}
	if err := t.alone(ctx, path); err != nil {
		return err
	}
	done, err := t.openChip(ctx)
	if err != nil {
		return err
	}
	defer done()
	blank, err := blankPCRs(ctx, t.chip, t.request.PCRs)
	if err != nil {
		return err
	}
	warnBlank(saying{t.say}, blank)
	if t.client != nil {
		if err := t.register(ctx); err != nil {
			return err
		}
	}

	ctx = context.WithoutCancel(ctx) // from here on it is quick, and whole
	f, err := openToChange(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return changeAdvice(path, t.commit(ctx, f, f.SizeBytes))
}

// saying writes lines for people.
type saying struct {
	say func(format string, args ...any)
}

func (s saying) Write(p []byte) (int, error) {
	s.say("%s", string(p[:max(len(p)-1, 0)]))
	return len(p), nil
}

func (t *togetherEnrollment) wipe() {
	t.volume.Wipe()
	for _, p := range t.parts {
		p.Wipe()
	}
}

// commit adds the keyslots, proves them and gives the KMS its part, in this
// order, so that what the KMS holds always opens something with the others:
//
//  1. each keyslot and, in the same change, its token, "enrolling" if the KMS
//     has a part of it
//  2. the proof, by the tokens as they are on the disk now
//  3. the KMS takes its part: from here on the machine boots
//  4. the tokens without "enrolling"; what earlier runs left is removed
//
// When the KMS says no, 1 is undone.
func (t *togetherEnrollment) commit(ctx context.Context, s luks2.Storage, sizeBytes int64) (err error) {
	var offer kms.Offer
	if t.client != nil {
		if offer, err = t.offer(ctx, t.parts[together.KMS]); err != nil {
			return err
		}
		defer offer.Secret.Wipe()
	}
	for _, way := range t.ways {
		if err := t.add(ctx, s, sizeBytes, way); err != nil {
			return errors.Join(err, t.withdraw(s, sizeBytes))
		}
	}
	if t.client == nil {
		return nil
	}
	if err := t.put(ctx, offer); err != nil {
		return t.refused(s, sizeBytes, err)
	}
	if err := t.settle(s, sizeBytes); err != nil {
		t.say("the volume is enrolled, but its tokens could not be written: %v", err)
	}
	return nil
}

// add makes the keyslot of one way, and opens it again.
func (t *togetherEnrollment) add(ctx context.Context, s luks2.Storage, sizeBytes int64, way []string) error {
	m := madeKeyslot{together.Token{Members: way, Salt: secret.Random(32).Reveal()}}
	parts := maps.Clone(t.parts)
	if slices.Contains(way, together.TPM) {
		sealed, token, err := cryptenroll.Bind(ctx, t.chip, t.request)
		if err != nil {
			return advise(err)
		}
		defer sealed.Wipe()
		parts[together.TPM], m.Sealed = sealed, token(0)
	}
	if slices.Contains(way, together.KMS) {
		m.State = together.Enrolling
	}
	passphrase, err := m.Passphrase(t.want.UUID.String(), parts)
	if err != nil {
		return err
	}
	defer passphrase.Wipe()
	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return err
	}
	_, m.Slot, err = h.AddKey(s, t.volume, luks2.NewKey{Passphrase: passphrase, Slot: t.slot, Random: true, Token: func(slot int) json.RawMessage {
		m.Slot = slot
		return m.JSON()
	}})
	if err != nil {
		return err
	}
	t.made = append(t.made, m)
	return t.prove(ctx, s, sizeBytes, m.Slot, parts)
}

// prove reads the disk again and opens the keyslot by its token.
func (t *togetherEnrollment) prove(ctx context.Context, s luks2.Storage, sizeBytes int64, slot int, parts map[string]secret.Bytes) error {
	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return err
	}
	token, err := tokenOf(h, slot)
	if err != nil {
		return err
	}
	passphrase, err := token.Passphrase(h.UUID(), parts)
	if err != nil {
		return err
	}
	defer passphrase.Wipe()
	volume, _, err := h.Unlock(ctx, s, luks2.Attempt{Passphrase: passphrase, Slot: slot})
	defer volume.Wipe()
	if err == nil && volume.MAC() != t.volume.MAC() {
		err = errors.New("it yields a different volume key")
	}
	if err != nil {
		return fmt.Errorf("checking the new keyslot %d: %w", slot, err)
	}
	return nil
}

// tokenOf is the token of a keyslot.
func tokenOf(h *luks2.Header, slot int) (together.Token, error) {
	for _, in := range h.Tokens() {
		if in.Type == together.TokenType && slices.Contains(in.Keyslots, slot) {
			return together.Parse(in)
		}
	}
	return together.Token{}, fmt.Errorf("keyslot %d has no token of type %s", slot, together.TokenType)
}

// refused takes the keyslots back when it is sure that the KMS did not take
// its part.
func (t *togetherEnrollment) refused(s luks2.Storage, sizeBytes int64, err error) error {
	if !decided(err) || codes.Of(err) == kms.Pending.Code() {
		t.say("the new keyslots were kept because the KMS may have stored its part: reboot the machine to find out, or run this command again")
		return t.exit(err)
	}
	if err := t.withdraw(s, sizeBytes); err != nil {
		return err
	}
	if h, readErr := luks2.ReadAny(s, sizeBytes); readErr == nil && codes.Of(err) == kms.Exists.Code() {
		for _, left := range enrolling(h) {
			t.say("an earlier run added keyslot %d, and the KMS may hold its part: reboot the machine to find out", left.Slot)
		}
	}
	return t.exit(err)
}

// enrolling are the tokens whose part the KMS has perhaps not taken.
func enrolling(h *luks2.Header) (all []together.Token) {
	for _, in := range h.Tokens() {
		if in.Type != together.TokenType {
			continue
		}
		if t, err := together.Parse(in); err == nil && t.State == together.Enrolling {
			all = append(all, t)
		}
	}
	return all
}

// withdraw removes the keyslots that this run has added, and their tokens.
func (t *togetherEnrollment) withdraw(s luks2.Storage, sizeBytes int64) error {
	for _, m := range t.made {
		h, err := luks2.ReadAny(s, sizeBytes)
		if err == nil {
			_, err = h.RemoveKey(s, m.Slot, tokensOnly(h, m.Slot)...)
		}
		if err != nil {
			return fmt.Errorf("keyslot %d is not used by anybody and could not be removed: %w", m.Slot, err)
		}
	}
	return nil
}

// settle says in the tokens that the KMS has its part. The keyslots of runs
// whose part it has not go: it keeps one for the volume, and has just taken
// that of this run.
func (t *togetherEnrollment) settle(s luks2.Storage, sizeBytes int64) error {
	h, err := luks2.ReadAny(s, sizeBytes)
	if err != nil {
		return err
	}
	for _, m := range t.made {
		token, err := tokenOf(h, m.Slot)
		if err != nil || token.State == "" {
			continue
		}
		token.State = ""
		if h, _, err = h.SetToken(s, token.ID, token.JSON()); err != nil {
			return err
		}
	}
	for _, left := range enrolling(h) {
		if left.Slot == t.opened {
			continue
		}
		if h, err = h.RemoveKey(s, left.Slot, tokensOnly(h, left.Slot)...); err != nil {
			return err
		}
	}
	return nil
}
