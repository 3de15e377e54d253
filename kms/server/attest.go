package server

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"latchkey/kms"
	"latchkey/kms/server/policy"
)

// Constants of attestation structures: Part 2, sections 6.2, 6.9, 6.3.
const (
	tpmGenerated = 0xff544347 // TPM_GENERATED_VALUE
	attestQuote  = 0x8018     // TPM_ST_ATTEST_QUOTE
	algECDSA     = 0x0018
	algSHA256    = 0x000b
)

// selectionPCRs are quoted always: firmware policy (7), what was booted
// (11), its command line (12), and whether volumes were opened (15).
var selectionPCRs = []int{7, 11, 12, 15}

// latchPCR is zero until the volumes are open.
const latchPCR = 15

type clock = policy.Clock

// attest is what we read of a TPMS_ATTEST of type quote.
type attest struct {
	magic     uint32
	kind      uint16
	extra     []byte
	clock     clock
	selection []byte // TPML_PCR_SELECTION
	digest    []byte
}

// checkQuote judges a quote in the order that protocol.md gives: the AK's
// attributes and the signature first, then magic and type, the challenge,
// the selection, the values, their digest.
func checkQuote(q kms.Quote, akPublic []byte, th2 [32]byte) (clock, error) {
	key, err := ak.point(akPublic)
	if err != nil {
		return clock{}, err
	}

	if err := checkSignature(key, q); err != nil {
		return clock{}, err
	}
	a, err := parseAttest(q.Attest)
	switch {
	case err != nil:
		return clock{}, err
	case a.magic != tpmGenerated:
		return clock{}, errors.New("quote was not made by a TPM: its magic is missing")
	case a.kind != attestQuote:
		return clock{}, fmt.Errorf("attestation of type %#x is no quote", a.kind)
	}

	want := kms.QuoteData(th2)
	if subtle.ConstantTimeCompare(a.extra, want[:]) != 1 {
		return clock{}, errors.New("quote answers another challenge")
	}

	if string(a.selection) != string(encodedSelection()) {
		return clock{}, errors.New("quote is over other PCRs or another bank")
	}
	return a.clock, checkValues(q.PCRs, a.digest)
}

// checkSignature takes exactly ECDSA with SHA-256: TPMT_SIGNATURE, Part 2,
// section 11.3.4.
func checkSignature(key *ecdsa.PublicKey, q kms.Quote) error {
	b := q.Signature
	if len(b) < 4 || binary.BigEndian.Uint16(b) != algECDSA || binary.BigEndian.Uint16(b[2:]) != algSHA256 {
		return errors.New("quote's signature is not ECDSA with SHA-256")
	}
	r, rest, okR := cut2B(b[4:])
	s, rest, okS := cut2B(rest)
	if !okR || !okS || len(rest) != 0 || len(r) > 32 || len(s) > 32 {
		return errors.New("quote's signature is malformed")
	}
	sum := sha256.Sum256(q.Attest)
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)) {
		return errors.New("quote's signature is wrong")
	}
	return nil
}

// parseAttest reads a TPMS_ATTEST (Part 2, section 10.12.8). What follows
// the type is only read if it can be a quote's.
func parseAttest(b []byte) (a attest, err error) {
	malformed := errors.New("quote is malformed")
	if len(b) < 6 {
		return a, malformed
	}

	a.magic, a.kind = binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])
	_, b, ok := cut2B(b[6:]) // qualifiedSigner: names the hierarchy, which the activation proved
	if !ok {
		return a, malformed
	}

	// clockInfo is clock(8) resetCount(4) restartCount(4) safe(1), then
	// firmwareVersion(8).
	a.extra, b, ok = cut2B(b)
	if !ok || len(b) < 25 {
		return a, malformed
	}

	a.clock = clock{Reset: binary.BigEndian.Uint32(b[8:]), Restart: binary.BigEndian.Uint32(b[12:])}
	b = b[25:]
	n := len(encodedSelection())
	if len(b) < n {
		return a, malformed
	}

	a.selection = b[:n]
	a.digest, b, ok = cut2B(b[n:])
	if !ok || len(b) != 0 {
		return a, errors.New("quote is over other PCRs, another bank, or malformed")
	}

	return a, nil
}

// encodedSelection is TPML_PCR_SELECTION with one bank: SHA-256.
func encodedSelection() []byte {
	bits := make([]byte, 3)
	for _, pcr := range selectionPCRs {
		bits[pcr/8] |= 1 << (pcr % 8)
	}
	b := binary.BigEndian.AppendUint32(nil, 1)
	b = binary.BigEndian.AppendUint16(b, algSHA256)
	return append(append(b, byte(len(bits))), bits...)
}

// checkValues: exactly the selected PCRs in order, and their digest is the
// one signed.
func checkValues(pcrs []kms.PCR, digest []byte) error {
	if len(pcrs) != len(selectionPCRs) {
		return errors.New("PCR values are too few or too many")
	}
	h := sha256.New()
	for i, p := range pcrs {
		if p.Index != selectionPCRs[i] {
			return fmt.Errorf("value of PCR %d where PCR %d is due", p.Index, selectionPCRs[i])
		}
		h.Write(p.Value[:])
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), digest) != 1 {
		return errors.New("PCR values are not the quoted ones")
	}
	return nil
}
