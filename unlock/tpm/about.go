package tpm

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// Banks names the PCR banks that are on: "sha1", "sha256" and so on.
func (t *TPM) Banks(ctx context.Context) ([]string, error) {
	c, end := t.begin(ctx)
	defer end()
	banks, err := c.activeBanks()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range banks {
		names = append(names, bankName(b))
	}
	return names, nil
}

func bankName(alg tpm2.TPMIAlgHash) string {
	switch alg {
	case tpm2.TPMAlgSHA1:
		return "sha1"
	case tpm2.TPMAlgSHA256:
		return "sha256"
	case tpm2.TPMAlgSHA384:
		return "sha384"
	case tpm2.TPMAlgSHA512:
		return "sha512"
	}
	return fmt.Sprintf("0x%04x", uint16(alg))
}

// Lockout is the state of the TPM's defense against guessing (Part 1,
// section 19.8). What latchkey seals is not subject to it.
type Lockout struct {
	Locked   bool
	Failures int           // wrong authorizations that count
	Max      int           // at so many it locks
	Forget   time.Duration // each failure is forgotten after this long
}

// inLockout is a bit of TPMA_PERMANENT: Part 2, section 8.6.
const inLockout = 1 << 9

// Lockout reads the state of the TPM's defense against guessing.
func (t *TPM) Lockout(ctx context.Context) (Lockout, error) {
	c, end := t.begin(ctx)
	defer end()
	var l Lockout
	for _, p := range []struct {
		property tpm2.TPMPT
		take     func(uint32)
	}{
		{tpm2.TPMPTPermanent, func(v uint32) { l.Locked = v&inLockout != 0 }},
		{tpm2.TPMPTLockoutCounter, func(v uint32) { l.Failures = int(v) }},
		{tpm2.TPMPTMaxAuthFail, func(v uint32) { l.Max = int(v) }},
		{tpm2.TPMPTLockoutInterval, func(v uint32) { l.Forget = time.Duration(v) * time.Second }},
	} {
		v, err := c.property(p.property)
		if err != nil {
			return Lockout{}, err
		}
		p.take(v)
	}

	return l, nil
}

// property reads one TPM_PT; a TPM that does not have it says 0.
func (c call) property(p tpm2.TPMPT) (uint32, error) {
	const what = "reading properties"
	rsp, err := run(c, what, tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(p), PropertyCount: 1})
	if err != nil {
		return 0, err
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return 0, &Error{what, CodeFailed, err}
	}
	if len(list.TPMProperty) != 1 || list.TPMProperty[0].Property != p {
		return 0, nil
	}
	return list.TPMProperty[0].Value, nil
}
