package lk1

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"sync"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A kemKey is ours of ML-KEM-768.
type kemKey struct {
	private *mlkem.DecapsulationKey768
	public  [kms.MLKEMKeySize]byte
}

// A dhKey is ours of X25519.
type dhKey struct {
	private *ecdh.PrivateKey
	raw     secret.Bytes // the same
	public  [32]byte
}

// newCookieKey makes of 32 random bytes what closes cookies for as long as
// they count, and the ML-KEM and X25519 keys of all challenges of that time.
//
// An X25519 key for each challenge would be in its cookie, and so known to
// who has the cookie key: it would guard nothing that this one does not
// (decision 0115).
//
// We keep the ML-KEM key, and the nodes encapsulate: so a challenge, which
// anybody gets, costs us nothing of ML-KEM, and only who brings a cookie back
// makes us decapsulate, once. The key is the same for many, as KEM keys may
// be (FIPS 203 has IND-CCA2), and lives no longer than the cookie key, which
// opens more. Replicas share all of them by those 32 bytes.
func newCookieKey(k cookieKey, fresh secret.Bytes) cookieKey {
	k.aead = ledger.AEAD(derive(fresh, "lk1 cookie", 32).Reveal())
	seed := derive(fresh, "lk1 ML-KEM-768", mlkem.SeedSize)
	k.kem = sync.OnceValue(func() kemKey {
		defer seed.Wipe()
		key, err := mlkem.NewDecapsulationKey768(seed.Reveal())
		if err != nil {
			panic("lk1: " + err.Error()) // of a seed of another size
		}
		return kemKey{key, [kms.MLKEMKeySize]byte(key.EncapsulationKey().Bytes())}
	})
	scalar := derive(fresh, "lk1 X25519", 32)
	k.dh = sync.OnceValue(func() dhKey {
		key, err := ecdh.X25519().NewPrivateKey(scalar.Reveal())
		if err != nil {
			panic("lk1: " + err.Error()) // of a scalar of another size
		}
		return dhKey{key, scalar, [32]byte(key.PublicKey().Bytes())}
	})
	return k
}

// privateKey is the X25519 key that the challenge had: the cookie key's, but
// for one that a server of the version before gave out.
func (t *ticket) privateKey() (*ecdh.PrivateKey, error) {
	if ours := t.key.dh(); subtle.ConstantTimeCompare(ours.raw.Reveal(), t.x25519.Reveal()) == 1 {
		return ours.private, nil
	}
	return ecdh.X25519().NewPrivateKey(t.x25519.Reveal())
}

// derive is a key of a key: HKDF, RFC 5869.
func derive(from secret.Bytes, info string, n int) secret.Bytes {
	out, err := hkdf.Key(sha256.New, from.Reveal(), nil, info, n)
	if err != nil {
		panic("lk1: " + err.Error()) // of a length of our own
	}
	return secret.Own(out)
}

// keys derives the exchange's keys from what the cookie held and what the
// node encapsulated. A ciphertext that is none of this key gives keys that
// nobody has (FIPS 203, section 6.3, "implicit rejection"): it is refused as
// any proof that does not hold.
func (t *ticket) keys(ciphertext [kms.MLKEMCipherSize]byte) (*kms.Keys, error) {
	private, err := t.privateKey()
	if err != nil {
		return nil, errCookie
	}
	a := kms.Agreed{S: t.s, Ciphertext: ciphertext}
	defer a.Wipe()
	if err := a.Exchange(private, t.peer); err != nil {
		return nil, err
	}
	z, err := t.key.kem().private.Decapsulate(ciphertext[:])
	if err != nil {
		return nil, fmt.Errorf("decapsulating: %w", err)
	}
	a.MLKEM = secret.Own(z)
	return kms.NewKeys(&a, t.th2)
}
