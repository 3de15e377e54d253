// Package attest judges what a TPM says: the public areas of its keys, a
// challenge that only it can open, and quotes. lk1 and Kairos ask for other
// keys and other PCRs; how a quote is judged is the same.
package attest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"latchkey/kms"
)

// Constants of attestation structures: Part 2, sections 6.2, 6.9.
const (
	tpmGenerated = 0xff544347 // TPM_GENERATED_VALUE
	attestQuote  = 0x8018     // TPM_ST_ATTEST_QUOTE
	algSHA256    = 0x000b
)

// A Quote is a quote as it came, with the values that it is over.
type Quote struct {
	Attest, Signature []byte
	PCRs              []kms.PCR
}

// A Key is an attestation key that verifies its signatures.
type Key interface {
	verify(attest, signature []byte) error
}

// A Clock is what a quote says of its TPM's time: Part 2, section 10.11.1.
type Clock struct {
	Milliseconds   uint64 // of power since the TPM was last cleared
	Reset, Restart uint32
	Safe           bool // Milliseconds cannot have run back: Part 1, section 36.3.4
}

// statement is what we read of a TPMS_ATTEST of type quote.
type statement struct {
	magic     uint32
	kind      uint16
	signer    []byte // TPM2B_NAME: the key's qualified name
	extra     []byte
	clock     Clock
	selection []byte // TPML_PCR_SELECTION
	digest    []byte
}

// Check judges a quote, in this order: the signature, magic and type, the
// challenge that it answers, the selection, the values, their digest. PCRs
// are those to be quoted, ascending, of the SHA-256 bank.
//
// Signer, if it is not nil, is the qualified name that the signing key must
// have: activation binds a key's name, and not its hierarchy, and a key of
// another one quotes obfuscated counters (Part 1, section 31.3.3).
func (q Quote) Check(key Key, signer, extra []byte, pcrs []int) (Clock, error) {
	if err := key.verify(q.Attest, q.Signature); err != nil {
		return Clock{}, err
	}
	want := selection(pcrs)
	a, err := parseAttest(q.Attest, len(want))
	switch {
	case err != nil:
		return Clock{}, err
	case a.magic != tpmGenerated:
		return Clock{}, errors.New("quote was not made by a TPM: its magic is missing")
	case a.kind != attestQuote:
		return Clock{}, fmt.Errorf("attestation of type %#x is no quote", a.kind)
	case signer != nil && string(a.signer) != string(signer):
		return Clock{}, errors.New("quote was signed by a key of another hierarchy")
	case subtle.ConstantTimeCompare(a.extra, extra) != 1:
		return Clock{}, errors.New("quote answers another challenge")
	case string(a.selection) != string(want):
		return Clock{}, errors.New("quote is over other PCRs or another bank")
	}
	return a.clock, checkValues(q.PCRs, pcrs, a.digest)
}

// parseAttest reads a TPMS_ATTEST (Part 2, section 10.12.8) whose selection
// has so many bytes. What follows the type is only read if it can be a
// quote's.
func parseAttest(b []byte, selected int) (a statement, err error) {
	a, b, ok := parseHead(b, selected)
	if !ok {
		return a, errors.New("quote is malformed")
	}
	a.selection, b = b[:selected], b[selected:]
	a.digest, b, ok = Cut2B(b)
	if !ok || len(b) != 0 {
		return a, errors.New("quote is over other PCRs, another bank, or malformed")
	}

	return a, nil
}

// parseHead reads what attestations of all types begin with; there are so
// many bytes behind it, or more.
func parseHead(b []byte, behind int) (a statement, rest []byte, ok bool) {
	if len(b) < 6 {
		return a, nil, false
	}
	a.magic, a.kind = binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])
	if a.signer, b, ok = Cut2B(b[6:]); !ok {
		return a, nil, false
	}

	// clockInfo is clock(8) resetCount(4) restartCount(4) safe(1), then
	// firmwareVersion(8).
	a.extra, b, ok = Cut2B(b)
	if !ok || len(b) < 25+behind || b[16] > 1 {
		return a, nil, false
	}
	a.clock = Clock{
		Milliseconds: binary.BigEndian.Uint64(b), Reset: binary.BigEndian.Uint32(b[8:]), Restart: binary.BigEndian.Uint32(b[12:]),
		Safe: b[16] == 1,
	}
	return a, b[25:], true
}

// selection is TPML_PCR_SELECTION with one bank: SHA-256.
func selection(pcrs []int) []byte {
	bits := make([]byte, 3)
	for _, pcr := range pcrs {
		bits[pcr/8] |= 1 << (pcr % 8)
	}
	b := binary.BigEndian.AppendUint32(nil, 1)
	b = binary.BigEndian.AppendUint16(b, algSHA256)
	return append(append(b, byte(len(bits))), bits...)
}

// checkValues: exactly the selected PCRs in order, and their digest is the
// one signed.
func checkValues(values []kms.PCR, want []int, digest []byte) error {
	if len(values) != len(want) {
		return errors.New("PCR values are too few or too many")
	}
	h := sha256.New()
	for i, p := range values {
		if p.Index != want[i] {
			return fmt.Errorf("value of PCR %d where PCR %d is due", p.Index, want[i])
		}
		h.Write(p.Value[:])
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), digest) != 1 {
		return errors.New("PCR values are not the quoted ones")
	}
	return nil
}

// Cut2B takes a TPM2B off b.
func Cut2B(b []byte) (content, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(b[0])<<8 | int(b[1])
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
