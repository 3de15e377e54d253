package kairos

import (
	"crypto/rsa"
	"errors"
	"fmt"

	"latchkey/kms"
	"latchkey/kms/server/attest"
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
		Quote     text64 `json:"quote"`
		Signature text64 `json:"signature"`
	} `json:"quote"`
	PCRs map[string]text64 `json:"pcrs"`
}

// check judges a quote, which answers nobody's nonce.
func (q *pcrQuote) check(ak *rsa.PublicKey) (*Quote, error) {
	if q.Quote.Version != "2" {
		return nil, fmt.Errorf("quote is of TPM version %.8q", q.Quote.Version)
	}

	values, err := q.values()
	if err != nil {
		return nil, err
	}
	quote := attest.Quote{Attest: q.Quote.Quote, Signature: q.Quote.Signature, PCRs: values}
	clock, err := quote.Check(attest.RSA{PublicKey: ak}, nil, nil, PCRs)
	if err != nil {
		return nil, err
	}

	out := &Quote{PCRs: map[int][32]byte{}, Clock: clock.Milliseconds, Safe: clock.Safe}
	for _, v := range values {
		out.PCRs[v.Index] = v.Value
	}
	return out, nil
}

// values are those of the quoted PCRs, and no others.
func (q *pcrQuote) values() (out []kms.PCR, err error) {
	if len(q.PCRs) != len(PCRs) {
		return nil, errors.New("PCR values are too few or too many")
	}
	for _, pcr := range PCRs {
		value := q.PCRs[fmt.Sprint(pcr)]
		if len(value) != 32 {
			return nil, fmt.Errorf("value of PCR %d has %d bytes", pcr, len(value))
		}
		out = append(out, kms.PCR{Index: pcr, Value: [32]byte(value)})
	}
	return out, nil
}
