package tpm

import (
	"context"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// A Setup is how the TPM was left by its firmware, installers and owners.
type Setup struct {
	// Passwords of hierarchies: without the first two empty, nothing
	// unattended can use the TPM's keys.
	EndorsementPassword bool
	OwnerPassword       bool
	LockoutPassword     bool

	PersistentSRK bool // at 0x81000001, where installers keep it
	PersistentEK  bool // at 0x81010001 (RSA) or 0x81010002 (ECC)

	// NV indexes of EK certificates, for RSA-2048 and for P-256.
	RSACertificate, P256Certificate bool
}

// Bits of TPMA_PERMANENT: Part 2, section 8.6.
const (
	ownerAuthSet       = 1 << 0
	endorsementAuthSet = 1 << 1
	lockoutAuthSet     = 1 << 2
)

// persistentECCEK is where installers keep the P-256 EK (TCG TPM v2.0
// Provisioning Guidance, section 7.8).
const persistentECCEK = tpm2.TPMHandle(0x81010002)

// Setup reads how the TPM was set up. It needs no key and no password.
func (t *TPM) Setup(ctx context.Context) (Setup, error) {
	c, end := t.begin(ctx)
	defer end()
	permanent, err := c.property(tpm2.TPMPTPermanent)
	if err != nil {
		return Setup{}, err
	}

	kept, indexes := c.handles(tpm2.TPMHTPersistent), c.handles(tpm2.TPMHTNVIndex)
	return Setup{
		EndorsementPassword: permanent&endorsementAuthSet != 0,
		OwnerPassword:       permanent&ownerAuthSet != 0,
		LockoutPassword:     permanent&lockoutAuthSet != 0,
		PersistentSRK:       slices.Contains(kept, persistentSRK),
		PersistentEK:        slices.Contains(kept, persistentRSAEK) || slices.Contains(kept, persistentECCEK),
		RSACertificate:      slices.Contains(indexes, nvRSACertificate),
		P256Certificate:     slices.Contains(indexes, nvP256Certificate),
	}, nil
}
