// Package cryptenroll is the source of keys that systemd-cryptenroll(1)
// bound to this machine's TPM: tokens of type systemd-tpm2.
package cryptenroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/tpm"
)

// TokenType is that of systemd's tokens for TPMs; others are not read.
const TokenType = "systemd-tpm2"

// A TPM2 opens volumes by their tokens of type systemd-tpm2.
type TPM2 struct {
	// Allowed are the sealed secrets that may open a volume, as
	// Describe tells them. A token is on the disk, and anybody can seal a
	// secret of their own under the same policy and add a keyslot to a disk
	// of their own: only the secret itself tells the volume. A volume whose
	// header is pinned needs none, because its key is.
	Allowed []string
	// Parts are tokens that are in a header in another shape, and whose secret
	// is a part of a passphrase. ok is false for a volume that the TPM opens
	// alone. Parts is nil if no volume has any.
	Parts func(v *unlock.Volume) (all []Part, ok bool)
	// Ask asks a person for the PIN of a token; an empty one leaves the volume to
	// its other sources. nil: nobody is asked for a PIN.
	Ask func(ctx context.Context, q Question) (secret.Bytes, error)
	// TPM waits for the TPM, and for the word that it may be used.
	TPM func(ctx context.Context) (Unsealer, error)
	// Signatures reads the tpm2-pcr-signature.json of the boot stub.
	Signatures func() ([]byte, error)
	Log        *slog.Logger
}

// An Unsealer gives back what was sealed to it: tpm.TPM.
type Unsealer interface {
	Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error)
}

// CodeToken: no token of the volume can be used: final.
const CodeToken = "systemd-token"

// A Part is a token whose secret opens nothing alone.
type Part struct {
	luks2.Token
	// Known says that another part tells the true volume, so that the secret
	// need not be among those that are allowed.
	Known bool
}

// A way is one token's to one volume.
type way struct {
	volume *unlock.Volume
	token  luks2.Token
	known  bool
}

// wantsPIN tells whether a person is to be asked.
func (w way) wantsPIN() bool {
	token, err := parseToken(w.token.JSON)
	return err == nil && token.PIN
}

// ways are those of one volume, and what is said of tokens that are none.
func (t *TPM2) ways(v *unlock.Volume) (all []way, strange string) {
	pinned := len(v.Digest) > 0
	if t.Parts != nil {
		if parts, ok := t.Parts(v); ok {
			for _, p := range parts {
				all = append(all, way{v, p.Token, p.Known || pinned})
			}
			return all, ""
		}
	}
	for _, token := range v.Header.Tokens() {
		switch {
		case token.Type == TokenType && len(token.Keyslots) > 0:
			all = append(all, way{v, token, pinned})
		case strings.HasPrefix(token.Type, "systemd-") && token.Type != "systemd-recovery":
			strange += fmt.Sprintf("; token %d is of type %s, which needs a device that this init does not speak to", token.ID, token.Type)
		}
	}
	return all, strange
}

// Run implements source.Source. The first tokens of all volumes are tried
// side by side, then the second ones, and so on; an offer that fails costs
// the others nothing.
func (t *TPM2) Run(ctx context.Context, to source.Opener) error {
	var queue [][]way
	var pins []way
	var none source.Offer
	volumes := to.Closed()
	for _, v := range volumes {
		ways, strange := t.ways(v)
		with := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return !w.wantsPIN() })
		pins = append(pins, with...)
		for i, w := range slices.DeleteFunc(slices.Clone(ways), way.wantsPIN) {
			if i == len(queue) {
				queue = append(queue, nil)
			}
			queue[i] = append(queue[i], w)
		}
		if len(ways) == 0 {
			none.Keys = append(none.Keys, source.Key{Volume: v, Err: fmt.Errorf("volume %s has no token of type %s%s: %w", v.Name, TokenType, strange, source.ErrNotMine)})
		}
	}

	errs := map[*unlock.Volume][]error{}
	for _, k := range none.Keys {
		errs[k.Volume] = []error{k.Err}
	}
	if len(none.Keys) > 0 {
		to.Try(ctx, none)
	}
	for _, ways := range queue {
		t.try(ctx, to, ways, errs)
	}
	t.asked(ctx, to, pins, errs)
	var all []error
	for _, v := range volumes {
		if to.Needed(v) {
			all = append(all, errs[v]...)
		}
	}
	return errors.Join(all...)
}

// asked tries the tokens with a PIN, one after the other, when those without
// one have been: a person is asked for nothing that opens without.
func (t *TPM2) asked(ctx context.Context, to source.Opener, pins []way, errs map[*unlock.Volume][]error) {
	for _, w := range pins {
		if !slices.Contains(to.Closed(), w.volume) {
			continue
		}
		err := codes.Fail(CodeToken, "volume %s, token %d: %w", w.volume.Name, w.token.ID, ErrAsks)
		if t.Ask != nil {
			err = t.pin(ctx, to, w)
		}
		if err == nil {
			delete(errs, w.volume)
			continue
		}
		t.Log.Warn("a token does not open its volume", "err", err)
		errs[w.volume] = append(errs[w.volume], err)
	}
}

// try tries one token of each volume that is still closed, and notes why it
// does not open it.
func (t *TPM2) try(ctx context.Context, to source.Opener, ways []way, errs map[*unlock.Volume][]error) {
	closed := to.Closed()
	ways = slices.DeleteFunc(ways, func(w way) bool { return !slices.Contains(closed, w.volume) })
	var offer source.Offer
	for _, w := range ways {
		offer.Keys = append(offer.Keys, source.Key{Volume: w.volume, Passphrases: func(ctx context.Context) ([]unlock.Candidate, error) {
			return t.candidates(ctx, w, secret.Bytes{})
		}})
	}
	if len(offer.Keys) == 0 {
		return
	}
	for i, err := range to.Try(ctx, offer) {
		if err != nil {
			t.Log.Warn("a token does not open its volume", "err", err)
			errs[ways[i].volume] = append(errs[ways[i].volume], err)
		} else {
			delete(errs, ways[i].volume)
		}
	}
}

// candidates are what a token gives for its keyslots.
func (t *TPM2) candidates(ctx context.Context, w way, pin secret.Bytes) ([]unlock.Candidate, error) {
	key, err := t.passphrase(ctx, w, pin)
	if err != nil {
		return nil, fmt.Errorf("volume %s, token %d: %w", w.volume.Name, w.token.ID, err)
	}
	return []unlock.Candidate{{Passphrase: key, Slots: w.token.Keyslots}}, nil
}

// token reads a token that the plan allows.
func (t *TPM2) token(w way) (*token, error) {
	token, err := parseToken(w.token.JSON)
	if err == nil {
		err = token.allowed(t.Allowed, w.known)
	}
	if err != nil {
		return nil, codes.Fail(CodeToken, "%w", err)
	}
	return token, nil
}

// passphrase unseals a token's secret. What the keyslot has is its base64
// (systemd's src/cryptsetup/cryptsetup.c, attach_luks_or_plain_or_bitlk_by_tpm2).
func (t *TPM2) passphrase(ctx context.Context, w way, pin secret.Bytes) (secret.Bytes, error) {
	token, err := t.token(w)
	if err != nil {
		return secret.Bytes{}, err
	}
	if token.PIN {
		if token.sealed.PIN, err = token.authValue(pin); err != nil {
			return secret.Bytes{}, err
		}
		defer token.sealed.PIN.Wipe()
	}
	chip, err := t.TPM(ctx)
	if err != nil {
		return secret.Bytes{}, err
	}
	raw, err := t.unseal(ctx, chip, token)
	if codes.Of(err) == tpm.CodeSealPolicy {
		if what := token.changed(ctx, chip); what != "" {
			err = fmt.Errorf("%w: %s", err, what)
		}
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	defer raw.Wipe()
	return encoded(raw), nil
}

// unseal asks the TPM. Systemd has written the exponent of a key that signs
// PCRs as 65537 and as 0, which is the same and makes another policy.
func (t *TPM2) unseal(ctx context.Context, chip Unsealer, token *token) (secret.Bytes, error) {
	if len(token.Signed) == 0 {
		return chip.Unseal(ctx, token.sealed)
	}
	file, err := t.Signatures()
	if err != nil {
		return secret.Bytes{}, codes.Fail(tpm.CodeSealPolicy, "it wants a signature of PCRs, which a unified kernel image has (image uki --pcr-key): %w", err)
	}
	exponents := []uint32{token.signer.Exponent}
	if token.signer.Exponent == rsaDefault {
		exponents = []uint32{0, rsaDefault}
	}
	var errs []error
	for _, e := range exponents {
		var missing error
		signed := token.sealed.Policy[0].(tpm.SignedPCRs)
		signed.Exponent = e
		signed.Signature = func(policy [32]byte) (sig []byte) {
			sig, missing = token.signer.Find(file, token.Bank, token.Signed, policy)
			return sig
		}
		o := token.sealed
		o.Policy = slices.Concat([]tpm.Policy{signed}, o.Policy[1:])
		key, err := chip.Unseal(ctx, o)
		if err == nil {
			return key, nil
		}
		if missing != nil {
			return secret.Bytes{}, fmt.Errorf("%w: %w", err, missing)
		}
		if errs = append(errs, err); codes.Of(err) != tpm.CodeSealPolicy {
			break
		}
	}
	return secret.Bytes{}, errs[0]
}
