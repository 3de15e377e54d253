package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"latchkey/internal/secret"
)

// gcmOverhead is what AES-256-GCM adds, in bytes.
const gcmOverhead = 16

// HelloHash is th1, of M1 as received.
func HelloHash(m1 []byte) [32]byte { return hash([]byte("lk1/hello"), m1) }

// CoreHash is th2.
func CoreHash(th1 [32]byte, core []byte) [32]byte { return hash(th1[:], core) }

// RedeemHash is th3, of M3 as received.
func RedeemHash(th2 [32]byte, m3 []byte) [32]byte { return hash(th2[:], m3) }

// QuoteData is what the quote must carry: it ties the boot state to this
// one challenge.
func QuoteData(th2 [32]byte) [32]byte { return hash([]byte("lk1/quote"), th2[:]) }

func hash(parts ...[]byte) (sum [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// Keys are one exchange's keys, one for each message that is protected, so
// that none needs a nonce.
type Keys struct {
	th2             [32]byte
	ciphertext      [MLKEMCipherSize]byte // which M3 carries
	mac, m3, m4, m5 secret.Bytes
}

// NewKeys derives the keys from what was agreed on and th2 (HKDF, RFC 5869).
func NewKeys(a *Agreed, th2 [32]byte) (*Keys, error) {
	ikm, salt := a.join(), a.keyHash(th2)
	defer ikm.Wipe()
	prk, err := hkdf.Extract(sha256.New, ikm.Reveal(), salt[:])
	if err != nil {
		return nil, fmt.Errorf("deriving keys: %w", err)
	}
	defer clear(prk)
	k := &Keys{th2: th2, ciphertext: a.Ciphertext}
	for _, out := range []struct {
		key  *secret.Bytes
		info string
	}{{&k.mac, "lk1 mac"}, {&k.m3, "lk1 m3"}, {&k.m4, "lk1 m4"}, {&k.m5, "lk1 m5"}} {
		key, err := hkdf.Expand(sha256.New, prk, out.info, 32)
		if err != nil {
			return nil, fmt.Errorf("deriving keys: %w", err)
		}
		*out.key = secret.Own(key)
	}

	return k, nil
}

// Wipe forgets the keys.
func (k *Keys) Wipe() {
	for _, key := range []secret.Bytes{k.mac, k.m3, k.m4, k.m5} {
		key.Wipe()
	}
}

// ReportKey is k_m5, which the KMS carries in the report cookie.
func (k *Keys) ReportKey() secret.Bytes { return k.m5 }

// SealOffers closes M3's offers.
func (k *Keys) SealOffers(plain secret.Bytes) ([]byte, error) {
	return seal(k.m3, k.th2[:], plain.Reveal())
}

// OpenOffers opens M3's offers.
func (k *Keys) OpenOffers(sealed []byte) (secret.Bytes, error) {
	plain, err := open(k.m3, k.th2[:], sealed)
	return secret.Own(plain), err
}

// SealDecision makes M4 for a request of n volumes.
func (k *Keys) SealDecision(d *Decision, n int, th3 [32]byte) (*Answer, error) {
	plain, err := d.encode(n)
	if err != nil {
		return nil, fmt.Errorf("sealing the answer: %w", err)
	}
	defer plain.Wipe()
	m := &Answer{}
	rand.Read(m.Fresh[:])
	key, err := freshen(k.m4, m.Fresh, "lk1 m4 fresh")
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	m.Sealed, err = seal(key, th3[:], plain.Reveal())
	return m, err
}

// OpenDecision opens M4.
func (k *Keys) OpenDecision(m *Answer, th3 [32]byte) (*Decision, error) {
	key, err := freshen(k.m4, m.Fresh, "lk1 m4 fresh")
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	b, err := open(key, th3[:], m.Sealed)
	if err != nil {
		return nil, err
	}
	plain := secret.Own(b)
	defer plain.Wipe()
	return parseDecision(plain)
}

// SealReport makes M5.
func SealReport(reportKey secret.Bytes, th3 [32]byte, cookie []byte, results []Result) (*Report, error) {
	m := &Report{Cookie: cookie}
	rand.Read(m.Fresh[:])
	key, err := freshen(reportKey, m.Fresh, "lk1 m5 fresh")
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	m.Sealed, err = seal(key, th3[:], encodeResults(results))
	return m, err
}

// OpenReport opens M5 with what the report cookie held.
func OpenReport(m *Report, reportKey secret.Bytes, th3 [32]byte) ([]Result, error) {
	plain, err := openFresh(reportKey, m.Fresh, "lk1 m5 fresh", th3, m.Sealed)
	if err != nil {
		return nil, err
	}
	return ParseResults(plain)
}

// freshen mixes the sender's own random bytes into a key, so that a message
// made twice is never made with one key and one nonce.
func freshen(key secret.Bytes, fresh [32]byte, info string) (secret.Bytes, error) {
	out, err := hkdf.Key(sha256.New, key.Reveal(), fresh[:], info, 32)
	return secret.Own(out), err
}

// openFresh opens what was sealed with a key that freshen made.
func openFresh(key secret.Bytes, fresh [32]byte, info string, th3 [32]byte, sealed []byte) ([]byte, error) {
	once, err := freshen(key, fresh, info)
	if err != nil {
		return nil, err
	}
	defer once.Wipe()
	return open(once, th3[:], sealed)
}

// seal is AES-256-GCM with nonce zero: every key closes one message.
func seal(key secret.Bytes, aad, plain []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("sealing a message: %w", err)
	}
	return gcm.Seal(nil, make([]byte, gcm.NonceSize()), plain, aad), nil
}

func open(key secret.Bytes, aad, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("opening a message: %w", err)
	}
	plain, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("opening a message: %w", err)
	}
	return plain, nil
}

func newGCM(key secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
