package kms

import (
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/sha256"
	"fmt"

	"latchkey/internal/secret"
)

// Sizes of ML-KEM-768 (FIPS 203, table 3), in bytes.
const (
	MLKEMKeySize    = mlkem.EncapsulationKeySize768 // in the core of M2
	MLKEMCipherSize = mlkem.CiphertextSize768       // in M3
)

// Agreed is what one exchange's keys are made of: whoever lacks one of the
// three secrets has none of the keys. Each has 32 bytes. X25519 and the TPM's
// key exchange fall to a quantum computer, so that what was recorded today
// would open in ten years; ML-KEM stands beside them should it be the one to
// fall.
type Agreed struct {
	S      secret.Bytes // what the TPM opened
	MLKEM  secret.Bytes
	X25519 secret.Bytes

	Ciphertext [MLKEMCipherSize]byte // that MLKEM came in
}

// Wipe forgets the secrets.
func (a *Agreed) Wipe() {
	a.S.Wipe()
	a.MLKEM.Wipe()
	a.X25519.Wipe()
}

// join is the input of the key schedule: S, then both secrets in the order of
// X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem, section 4.3). Each has one size,
// so there is one way to take it apart.
func (a *Agreed) join() secret.Bytes {
	parts := []secret.Bytes{a.S, a.MLKEM, a.X25519}
	ikm := secret.Make(len(parts) * 32)
	rest := ikm.Reveal()
	for _, p := range parts {
		rest = rest[copy(rest, p.Reveal()):]
	}
	return ikm
}

// keyHash is the salt of the key schedule: all that was said until the keys
// are made, the ciphertext too.
func (a *Agreed) keyHash(th2 [32]byte) [sha256.Size]byte {
	return hash([]byte("lk1/keys"), th2[:], a.Ciphertext[:])
}

// encapsulate makes the ML-KEM secret that only this KMS will learn. An error
// says that it sent no encapsulation key: FIPS 203, section 7.2.
func (a *Agreed) encapsulate(core *Core) error {
	key, err := mlkem.NewEncapsulationKey768(core.MLKEM[:])
	if err != nil {
		return fmt.Errorf("reading the KMS' ML-KEM key: %w", err)
	}
	z, ciphertext := key.Encapsulate()
	a.MLKEM, a.Ciphertext = secret.Own(z), [MLKEMCipherSize]byte(ciphertext)
	return nil
}

// Exchange makes the X25519 secret of both sides. An error says that theirs
// is a point of low order: RFC 7748, section 6.1.
func (a *Agreed) Exchange(ours *ecdh.PrivateKey, theirs [32]byte) error {
	public, err := ecdh.X25519().NewPublicKey(theirs[:])
	if err != nil {
		return fmt.Errorf("reading an X25519 key: %w", err)
	}
	z, err := ours.ECDH(public)
	if err != nil {
		return fmt.Errorf("agreeing by X25519: %w", err)
	}
	a.X25519 = secret.Own(z)
	return nil
}

// agree opens the challenge with the TPM and derives the keys. The TPM is
// asked last: shares that are none do not reach it.
func agree(ctx context.Context, p Prover, ephemeral *ecdh.PrivateKey, m2 *heard) (*Keys, error) {
	var a Agreed
	defer a.Wipe()
	err := a.Exchange(ephemeral, m2.core.Ephemeral)
	if err == nil {
		err = a.encapsulate(m2.core)
	}
	if err != nil {
		return nil, &Error{What: "agreeing on keys", code: CodeBadAnswer, Err: err}
	}
	if a.S, err = p.Activate(ctx, m2.core.Blob, m2.core.Seed); err != nil {
		return nil, err
	}
	return NewKeys(&a, m2.th2)
}

// Ciphertext is what M3 carries for these keys.
func (k *Keys) Ciphertext() [MLKEMCipherSize]byte { return k.ciphertext }
