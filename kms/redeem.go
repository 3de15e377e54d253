package kms

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"

	"latchkey/internal/secret"
)

// maxDeposits bounds the sealed offers of an M3, in bytes.
const maxDeposits = 16 << 10

// Redeem is M3, node to KMS.
type Redeem struct {
	Ciphertext [MLKEMCipherSize]byte // for the core's ML-KEM key
	Quote      Quote
	MAC        [32]byte // by k_mac, over the rest
	Cookie     []byte
	Offers     []byte // sealed by k_m3; empty for get
}

// Encode is the message's bytes.
func (m *Redeem) Encode() []byte {
	var w Writer
	w.Field(m.Ciphertext[:])
	w.Field(m.Quote.Attest)
	w.Field(m.Quote.Signature)
	w.Field(encodePCRs(m.Quote.PCRs))
	w.Field(m.MAC[:])
	w.Field(m.Cookie)
	w.Field(m.Offers)
	return w.Bytes()
}

// ParseRedeem decodes M3.
func ParseRedeem(b []byte) (*Redeem, error) {
	r, m := NewReader(b), &Redeem{}
	m.Ciphertext = [MLKEMCipherSize]byte(r.Exact("ciphertext", MLKEMCipherSize))
	m.Quote = readQuote(r)
	m.MAC = [32]byte(r.Exact("MAC", 32))
	m.Cookie = bytes.Clone(r.Field("cookie", MaxCookie))
	m.Offers = bytes.Clone(r.Field("offers", maxDeposits))
	return m, r.End()
}

func encodePCRs(values []PCR) []byte {
	var w Writer
	for _, p := range values {
		w.Byte(byte(p.Index))
		w.Field(p.Value[:])
	}
	return w.Bytes()
}

func readQuote(r *Reader) (q Quote) {
	q.Attest = bytes.Clone(r.Field("quote", maxPublic))
	q.Signature = bytes.Clone(r.Field("quote's signature", maxPublic))
	r.List("PCRs", 24, func(r *Reader) {
		q.PCRs = append(q.PCRs, PCR{int(r.Byte("PCR index")), [32]byte(r.Exact("PCR value", 32))})
	})
	return q
}

// Seal computes the MAC, which shows that the sender opened the challenge.
func (m *Redeem) Seal(k *Keys) { m.MAC = m.mac(k) }

// Verify tells whether the MAC is right.
func (m *Redeem) Verify(k *Keys) bool {
	want := m.mac(k)
	return hmac.Equal(want[:], m.MAC[:])
}

func (m *Redeem) mac(k *Keys) [32]byte {
	blank := *m
	blank.MAC = [32]byte{}
	h := hmac.New(sha256.New, k.mac.Reveal())
	h.Write([]byte("lk1/redeem"))
	h.Write(k.th2[:])
	h.Write(blank.Encode())
	return [32]byte(h.Sum(nil))
}

// An Offer is what a node leaves with the KMS for one volume: by put and
// stage a secret, by enroll only the volume key's MAC.
type Offer struct {
	UUID   UUID
	Kind   Kind         // zero with enroll
	Secret secret.Bytes // passphrase, or blob sealed to the TPM
	MAC    []byte       // of the volume key, 32 bytes or none
}

// EncodeOffers is the plain text of M3's offers. The caller wipes it.
func EncodeOffers(offers []Offer) secret.Bytes {
	room := len(offers) * grantedSize
	list, w := NewWriter(room), NewWriter(room+2)
	for _, o := range offers {
		list.Field(o.UUID[:])
		list.Byte(byte(o.Kind))
		list.Field(o.Secret.Reveal())
		list.Field(o.MAC)
	}
	w.Field(list.Bytes())
	clear(list.b)
	return secret.Own(w.Bytes())
}

// ParseOffers decodes the plain text of M3's offers.
func ParseOffers(b secret.Bytes) (offers []Offer, err error) {
	r := NewReader(b.Reveal())
	r.List("offers", MaxVolumes, func(r *Reader) {
		offers = append(offers, Offer{
			UUID:   UUID(r.Exact("UUID", 16)),
			Kind:   Kind(r.Byte("kind")),
			Secret: secret.Own(bytes.Clone(r.Field("secret", MaxSecret))),
			MAC:    bytes.Clone(r.Maybe32("volume-key MAC")),
		})
	})
	return offers, r.End()
}
