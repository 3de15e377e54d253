package talos

import (
	"context"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock/source"
	"latchkey/unlock/tpm"
)

// A TPM2 opens volumes by their tokens of type talos-tpm2.
type TPM2 struct {
	// Allowed are the names of sealed secrets that may open a volume, as
	// Describe tells them. A volume whose header is pinned needs none.
	Allowed []string
	// TPM waits for the TPM, and for the word that it may be used.
	TPM func(ctx context.Context) (Unsealer, error)
	// Signer finds the key that signs PCRs, and its signatures, of this image.
	// The token does not name it: it is the one that Talos' image was signed
	// with.
	Signer func() (Signer, error)
}

// An Unsealer gives back what was sealed to it: tpm.TPM.
type Unsealer interface {
	Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error)
}

// A Signer is an RSA key that signs PCRs.
type Signer struct {
	Modulus  []byte
	Exponent uint32
	// Find finds what was signed for a policy that is of these PCRs alone.
	Find func(pcrs []int, policy [32]byte) ([]byte, error)
}

// Run implements source.Source.
func (t *TPM2) Run(ctx context.Context, to source.Opener) error {
	return run(ctx, to, TokenTPM, func(ctx context.Context, w way) (secret.Bytes, error) {
		token, err := parseToken(TokenTPM, w.token.JSON)
		if err == nil {
			err = token.allowed(t.Allowed, len(w.volume.Digest) > 0)
		}
		if err != nil {
			return secret.Bytes{}, codes.Fail(CodeToken, "%w", err)
		}
		var signer Signer
		if len(token.User.Signed) > 0 {
			if signer, err = t.Signer(); err != nil {
				return secret.Bytes{}, codes.Fail(tpm.CodeSealPolicy, "it wants a signature of PCRs by the key that Talos' image was signed with, which a unified kernel image has (image uki --pcr-key): %w", err)
			}
		}
		chip, err := t.TPM(ctx)
		if err != nil {
			return secret.Bytes{}, err
		}
		o := token.sealed
		var missing error
		o.Policy = token.policy(signer, &missing)
		raw, err := chip.Unseal(ctx, o)
		if err != nil && missing != nil {
			err = fmt.Errorf("%w: %w", err, missing)
		}
		if err == nil && raw.Len() != KeyBytes {
			err = codes.Fail(CodeToken, "what the TPM unsealed has %d bytes, want %d", raw.Len(), KeyBytes)
			raw.Wipe()
		}
		if err != nil {
			return secret.Bytes{}, fmt.Errorf("unsealing: %w", err)
		}
		return raw, nil
	})
}
