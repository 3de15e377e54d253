package kairos

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Constants of attestation structures: Part 2, sections 6.2, 6.9, 6.3.
const (
	tpmGenerated = 0xff544347                                 // TPM_GENERATED_VALUE
	attestQuote  = 0x8018                                     // TPM_ST_ATTEST_QUOTE
	rsassaSHA256 = "\x00\x14\x00\x0b\x01\x00"                 // TPMT_SIGNATURE up to the signature itself
	quotedPCRs   = "\x00\x00\x00\x01\x00\x0b\x03\x81\x08\x00" // TPML_PCR_SELECTION: SHA-256; 0, 7, 11
)

// PCRs are the registers that their client quotes, and no others: firmware
// code (0), firmware policy (7), what was booted (11).
var PCRs = []int{0, 7, 11}

// A Quote is what a checked quote says.
type Quote struct {
	PCRs  map[int][32]byte
	Clock uint64 // milliseconds of power since the TPM was last cleared
	Safe  bool   // Clock cannot have run back: Part 1, section 36.3.4
}

// pcrQuote is a quote as it travels.
type pcrQuote struct {
	Quote struct {
		Version   string `json:"version"`
		Quote     []byte `json:"quote"`
		Signature []byte `json:"signature"`
	} `json:"quote"`
	PCRs map[string][]byte `json:"pcrs"`
}

// check judges a quote: signature, magic and type, that it answers nobody's
// nonce, the selection, the values, their digest.
func (q *pcrQuote) check(ak *rsa.PublicKey) (*Quote, error) {
	if q.Quote.Version != "2" {
		return nil, fmt.Errorf("quote is of TPM version %.8q", q.Quote.Version)
	}
	if err := checkSignature(ak, q.Quote.Quote, q.Quote.Signature); err != nil {
		return nil, err
	}

	a, err := parseAttest(q.Quote.Quote)
	switch {
	case err != nil:
		return nil, err
	case a.magic != tpmGenerated:
		return nil, errors.New("quote was not made by a TPM: its magic is missing")
	case a.kind != attestQuote:
		return nil, fmt.Errorf("attestation of type %#x is no quote", a.kind)
	case len(a.extra) != 0:
		return nil, errors.New("quote was made for another protocol: it has a nonce")
	case string(a.selection) != quotedPCRs:
		return nil, errors.New("quote is over other PCRs or another bank")
	}

	values, err := q.values(a.digest)
	if err != nil {
		return nil, err
	}
	return &Quote{values, a.clock, a.safe}, nil
}

func checkSignature(ak *rsa.PublicKey, attest, signature []byte) error {
	n := len(rsassaSHA256)
	if len(signature) != n+modulusSize || string(signature[:n]) != rsassaSHA256 {
		return errors.New("quote's signature is not RSASSA with SHA-256")
	}
	sum := sha256.Sum256(attest)
	if rsa.VerifyPKCS1v15(ak, crypto.SHA256, sum[:], signature[n:]) != nil {
		return errors.New("quote's signature is wrong")
	}
	return nil
}

// values: exactly the quoted PCRs, and their digest is the one signed.
func (q *pcrQuote) values(digest []byte) (map[int][32]byte, error) {
	if len(q.PCRs) != len(PCRs) {
		return nil, errors.New("PCR values are too few or too many")
	}
	h, out := sha256.New(), map[int][32]byte{}
	for _, pcr := range PCRs {
		value := q.PCRs[fmt.Sprint(pcr)]
		if len(value) != 32 {
			return nil, fmt.Errorf("value of PCR %d has %d bytes", pcr, len(value))
		}
		h.Write(value)
		out[pcr] = [32]byte(value)
	}

	if subtle.ConstantTimeCompare(h.Sum(nil), digest) != 1 {
		return nil, errors.New("PCR values are not the quoted ones")
	}
	return out, nil
}

// attest is what we read of a TPMS_ATTEST (Part 2, section 10.12.8).
type attest struct {
	magic             uint32
	kind              uint16
	extra             []byte
	clock             uint64
	safe              bool
	selection, digest []byte
}

func parseAttest(b []byte) (a attest, err error) {
	malformed := errors.New("quote is malformed")
	if len(b) < 6 {
		return a, malformed
	}

	a.magic, a.kind = binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])
	// qualifiedSigner names the AK and its parents, which the activation
	// proved to be in the node's TPM.
	_, b, ok := cut2B(b[6:])
	if !ok {
		return a, malformed
	}

	// clockInfo is clock(8) resetCount(4) restartCount(4) safe(1), then
	// firmwareVersion(8).
	a.extra, b, ok = cut2B(b)
	if !ok || len(b) < 25+len(quotedPCRs) || b[16] > 1 {
		return a, malformed
	}

	a.clock, a.safe = binary.BigEndian.Uint64(b), b[16] == 1
	a.selection, b = b[25:25+len(quotedPCRs)], b[25+len(quotedPCRs):]
	a.digest, b, ok = cut2B(b)
	if !ok || len(b) != 0 {
		return a, errors.New("quote is over other PCRs, another bank, or malformed")
	}

	return a, nil
}

// cut2B takes a TPM2B off b.
func cut2B(b []byte) (content, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(b[0])<<8 | int(b[1])
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
