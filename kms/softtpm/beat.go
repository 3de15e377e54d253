package softtpm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"latchkey/kms"
)

// beatHead is the public area of the key of beats up to the key: lk1's AK,
// not restricted.
const beatHead = "0023000b00040472" + "0000" + "0010" + "0018000b" + "00030010"

// A Certificate is what a TPMS_ATTEST of type certify says (Part 2, section
// 10.12.8). Tests change it to say what no TPM would.
type Certificate struct {
	Magic           uint32
	Type            uint16
	Signer          []byte // qualified name of the AK
	Extra           []byte
	Reset, Restart  uint32
	Name, Qualified []byte // of the key
}

// Encode is the structure's bytes.
func (c Certificate) Encode() []byte {
	b := Attest{Magic: c.Magic, Type: c.Type, Signer: c.Signer, Extra: c.Extra, Reset: c.Reset, Restart: c.Restart}.head()
	return append2B(append2B(b, c.Name), c.Qualified)
}

// A Beater is a TPM whose machine beats. Certify, if it is not nil, changes
// what its AK certifies; so does Key the key, which else is that of the boot.
type Beater struct {
	*TPM
	Certify func(*Certificate)
	Key     *ecdsa.PrivateKey
}

// beatKey is the key of this boot: another one after each reset.
func (b *Beater) beatKey() (*ecdsa.PrivateKey, error) {
	if b.Key != nil {
		return b.Key, nil
	}
	seed := sha256.Sum256(append(binary.BigEndian.AppendUint32([]byte("beat "), b.Reset), b.akPublic...))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
}

// BeatKey implements kms.Beater.
func (b *Beater) BeatKey(_ context.Context, extra []byte) (kms.BeatKey, error) {
	key, err := b.beatKey()
	if err != nil {
		return kms.BeatKey{}, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return kms.BeatKey{}, err
	}
	public := area(beatHead, point)
	name := sha256.Sum256(public)
	c := Certificate{
		Magic: 0xff544347, Type: 0x8017, Signer: b.Qualified(0x4000000b), Extra: extra, Reset: b.Reset, Restart: b.Restart,
		Name: append([]byte{0x00, 0x0b}, name[:]...), Qualified: qualified(0x40000007, public),
	}
	if b.Certify != nil {
		b.Certify(&c)
	}
	q, err := b.Sign(c.Encode(), nil)
	return kms.BeatKey{Public: public, Attest: q.Attest, Signature: q.Signature}, err
}

// SignBeat implements kms.Beater.
func (b *Beater) SignBeat(_ context.Context, digest [32]byte) (signature [kms.BeatSignature]byte, err error) {
	key, err := b.beatKey()
	if err != nil {
		return signature, err
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return signature, err
	}
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}
