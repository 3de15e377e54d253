package softtpm

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"latchkey/kms"
)

// An Attest is what a quote's TPMS_ATTEST says (Part 2, section 10.12.8).
// Tests change it to say what no TPM would.
type Attest struct {
	Magic          uint32
	Type           uint16
	Signer         []byte // qualified name of the key
	Extra          []byte
	Reset, Restart uint32
	Selections     []Selection
	Digest         []byte
}

// A Selection is PCRs of one bank.
type Selection struct {
	Bank uint16
	Bits []byte
}

// Select makes the selection of PCRs in the SHA-256 bank.
func Select(pcrs ...int) Selection {
	s := Selection{0x000b, make([]byte, 3)}
	for _, pcr := range pcrs {
		s.Bits[pcr/8] |= 1 << (pcr % 8)
	}
	return s
}

// head is what attestations of all types begin with.
func (a Attest) head() []byte {
	b := binary.BigEndian.AppendUint32(nil, a.Magic)
	b = binary.BigEndian.AppendUint16(b, a.Type)
	b = append2B(b, a.Signer)
	b = append2B(b, a.Extra)
	b = binary.BigEndian.AppendUint64(b, 12345) // clock
	b = binary.BigEndian.AppendUint32(b, a.Reset)
	b = binary.BigEndian.AppendUint32(b, a.Restart)
	b = append(b, 1)                           // safe
	return binary.BigEndian.AppendUint64(b, 1) // firmware version
}

// Encode is the structure's bytes.
func (a Attest) Encode() []byte {
	b := a.head()
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.Selections)))
	for _, s := range a.Selections {
		b = binary.BigEndian.AppendUint16(b, s.Bank)
		b = append(append(b, byte(len(s.Bits))), s.Bits...)
	}

	return append2B(b, a.Digest)
}

func append2B(b, content []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	return append(b, content...)
}

// Values are the TPM's PCRs in the order given.
func (t *TPM) Values(pcrs ...int) (values []kms.PCR, digest []byte) {
	h := sha256.New()
	for _, pcr := range pcrs {
		v := t.PCRs[pcr]
		values = append(values, kms.PCR{Index: pcr, Value: v})
		h.Write(v[:])
	}
	return values, h.Sum(nil)
}

// Statement is the honest quote, still unsigned.
func (t *TPM) Statement(pcrs []int, extra []byte) (Attest, []kms.PCR) {
	values, digest := t.Values(pcrs...)
	return Attest{
		Magic: 0xff544347, Type: 0x8018, Signer: qualified(0x4000000b, t.akPublic), Extra: extra, Reset: t.Reset, Restart: t.Restart,
		Selections: []Selection{Select(pcrs...)}, Digest: digest,
	}, values
}

// Qualified is the AK's qualified name if it were a primary of a hierarchy:
// Part 1, section 16.
func (t *TPM) Qualified(hierarchy uint32) []byte { return qualified(hierarchy, t.akPublic) }

func qualified(hierarchy uint32, public []byte) []byte {
	name := sha256.Sum256(public)
	sum := sha256.Sum256(append(append(binary.BigEndian.AppendUint32(nil, hierarchy), 0x00, 0x0b), name[:]...))
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// Quote implements kms.Prover.
func (t *TPM) Quote(_ context.Context, pcrs []int, extra []byte) (kms.Quote, error) {
	a, values := t.Statement(pcrs, extra)
	return t.Sign(a.Encode(), values)
}

// Sign signs any bytes as if they were a quote.
func (t *TPM) Sign(attest []byte, values []kms.PCR) (kms.Quote, error) {
	sum := sha256.Sum256(attest)
	r, s, err := ecdsa.Sign(rand.Reader, t.AK, sum[:])
	if err != nil {
		return kms.Quote{}, err
	}
	sig := []byte{0x00, 0x18, 0x00, 0x0b} // ECDSA, SHA-256
	sig = append2B(sig, r.FillBytes(make([]byte, 32)))
	sig = append2B(sig, s.FillBytes(make([]byte, 32)))
	return kms.Quote{Attest: attest, Signature: sig, PCRs: values}, nil
}
