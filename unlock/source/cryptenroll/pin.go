package cryptenroll

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
	"latchkey/unlock/tpm"
)

// pinTries is how often a person is asked for a PIN in one boot. The TPM
// counts wrong ones itself, and after too many (systemd's TPMs: 32, and fewer on some) it
// takes none for hours, whatever is typed.
const pinTries = 3

// pinRounds is PBKDF2_HMAC_SHA256_ITERATIONS in systemd's
// src/shared/tpm2-util.h.
const pinRounds = 10_000

// authValue is what systemd makes of a PIN: SHA-256 of the PIN itself (252) or
// of the base64 of its PBKDF2 (from 253 on; tpm2_unseal and acquire_tpm2_key).
// The TPM leaves zeros at its end out.
func (t *token) authValue(pin secret.Bytes) (secret.Bytes, error) {
	text := pin.Reveal()
	if len(t.salt) > 0 {
		salted, err := pbkdf2.Key(sha256.New, string(text), t.salt, pinRounds, sha256.Size)
		if err != nil {
			return secret.Bytes{}, fmt.Errorf("salting the PIN: %w", err)
		}
		defer clear(salted)
		text = make([]byte, base64.StdEncoding.EncodedLen(len(salted)))
		defer clear(text)
		base64.StdEncoding.Encode(text, salted)
	}
	sum := sha256.Sum256(text)
	return secret.Own(sum[:]), nil
}

// A Question is one for a PIN.
type Question struct {
	Volume string // that it opens
	Left   int    // tries, with this one
	Wrong  bool   // the one before was
}

// CodePIN: the PIN was wrong as often as it is asked for: final.
const CodePIN = "pin-wrong"

// String is the question as it is asked.
func (q Question) String() string {
	text := "PIN of the TPM for " + q.Volume + " (Enter: none)"
	if q.Wrong {
		text = fmt.Sprintf("that is not the PIN, tries left: %d. %s", q.Left, text)
	}
	return text
}

// ErrAsks is wrapped by the error of a token whose PIN nobody may be asked for.
var ErrAsks = errors.New("it wants a PIN, and nobody may be asked for it: systemd-tpm2: {pin: true} in latchkey.yaml has the boot ask at the console")

// errNoPIN is the error of who was asked for a PIN and has none.
var errNoPIN = errors.New("no PIN was typed")

// pin has a person asked for the PIN of a token until it opens the volume, or
// the tries are used up. Nothing is asked for a volume that is not the one
// that the plan means.
func (t *TPM2) pin(ctx context.Context, to source.Opener, w way) error {
	fail := func(err error) error {
		return fmt.Errorf("volume %s, token %d: %w", w.volume.Name, w.token.ID, err)
	}
	if err := w.volume.Judge(unlock.Expect{}); err != nil {
		return err
	}
	if _, err := t.token(w); err != nil {
		return fail(err)
	}
	if _, err := t.TPM(ctx); err != nil {
		return fail(err)
	}
	q := Question{Volume: w.volume.Name, Left: pinTries}
	for {
		typed, err := t.Ask(ctx, q)
		if err == nil && typed.Len() == 0 {
			err = errNoPIN
		}
		if err != nil {
			return fail(err)
		}
		err = to.Try(ctx, source.Offer{Keys: []source.Key{{Volume: w.volume, Passphrases: func(ctx context.Context) ([]unlock.Candidate, error) {
			defer typed.Wipe()
			return t.candidates(ctx, w, typed)
		}}}})[0]
		typed.Wipe()
		if codes.Of(err) != tpm.CodePIN {
			return err // it is open, or another PIN would not help
		}
		if q.Left, q.Wrong = q.Left-1, true; q.Left == 0 {
			return codes.Fail(CodePIN, "%w, %d times: nobody is asked for it any more in this boot", err, pinTries)
		}
	}
}
