package tpm

import (
	"bytes"

	"github.com/google/go-tpm/tpm2"
)

// An EK names the type of endorsement key to use.
type EK int

const (
	// EKAuto is P-256 if the TPM lists that curve, else RSA-2048. Handles
	// and certificates have no say: a node's identity must not change
	// because somebody installed a certificate.
	EKAuto EK = iota
	// EKP256 is template L-2 of TCG EK Credential Profile 2.3, B.3.4.
	EKP256
	// EKRSA2048 is template L-1 of TCG EK Credential Profile 2.3, B.3.3.
	EKRSA2048
)

// persistentRSAEK is where firmware and installers keep the RSA-2048 EK
// (TCG TPM v2.0 Provisioning Guidance, section 7.8).
const persistentRSAEK = tpm2.TPMHandle(0x81010001)

// persistentSRK is where installers, systemd among them, keep the storage
// root key (TCG TPM v2.0 Provisioning Guidance, section 7.8).
const persistentSRK = tpm2.TPMHandle(0x81000001)

// akLabel goes into the template's unique field, so that this AK is never
// the one that another program makes from a template of its own.
const akLabel = "latchkey lk1 attestation key v1"

// akTemplate is a restricted P-256 signing key: it signs only what the TPM
// itself made, so that its signature under a quote means a quote.
func akTemplate() tpm2.TPMTPublic {
	x := make([]byte, 32)
	copy(x, akLabel)
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x},
			Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		}),
	}
}

// matches tells whether public is what a TPM makes of template: equal in
// all but the unique field, which is the key itself.
func matches(public, template tpm2.TPMTPublic) bool {
	if public.Type != template.Type {
		return false // Marshal panics on a Unique of another type
	}
	public.Unique = template.Unique
	return bytes.Equal(tpm2.Marshal(public), tpm2.Marshal(template))
}

// sealTemplate is a sealed secret that opens by its policy alone: no
// password, no dictionary-attack counting (a power cut must not count).
func sealTemplate(policy []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgKeyedHash,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, AdminWithPolicy: true, NoDA: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
	}
}
