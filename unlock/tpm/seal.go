package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
)

// latchPCR is the PCR that is zero until the volumes are open. It is the
// whole policy of a sealed secret, so that no update makes a machine
// unbootable: the boot state is the KMS's to judge.
const latchPCR = 15

// maxSealed bounds what is sealed; TPMs take at least 128 bytes (Part 2,
// MAX_SYM_DATA).
const maxSealed = 128

// Seal encloses a secret so that only this TPM gives it back, and only
// while PCR 15 is zero. The blob is useless elsewhere and may be stored
// anywhere. The secret crosses the bus encrypted to the EK.
func (id *Identity) Seal(ctx context.Context, s secret.Bytes) ([]byte, error) {
	if s.Len() == 0 || s.Len() > maxSealed {
		return nil, &Error{"sealing a secret", CodeUnsupported, errors.New("only 1 to 128 bytes can be sealed")}
	}
	c, end := id.tpm.begin(ctx)
	defer end()
	if err := id.loadSRK(c); err != nil {
		return nil, err
	}

	data := s.Clone()
	defer data.Wipe()
	rsp, err := run(c, "sealing a secret", tpm2.Create{
		ParentHandle: id.srk.auth(),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data.Reveal()}),
		}},
		InPublic: tpm2.New2B(sealTemplate(latchPolicy())),
	}, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, id.salted(), tpm2.AESEncryption(128, tpm2.EncryptIn)))
	if err != nil {
		return nil, err
	}

	return joinBlob(rsp.OutPrivate.Buffer, rsp.OutPublic.Bytes()), nil
}

// Unseal gives a sealed secret back. The session is salted to the EK, which
// the KMS knows, not to a storage key that somebody on the bus could have
// swapped.
func (id *Identity) Unseal(ctx context.Context, blob []byte) (secret.Bytes, error) {
	private, public, err := splitBlob(blob)
	if err != nil {
		return secret.Bytes{}, err
	}

	c, end := id.tpm.begin(ctx)
	defer end()
	if err := id.loadSRK(c); err != nil {
		return secret.Bytes{}, err
	}

	loaded, err := run(c, "loading the sealed secret", tpm2.Load{
		ParentHandle: id.srk.auth(), InPrivate: tpm2.TPM2BPrivate{Buffer: private}, InPublic: tpm2.New2B(public),
	})
	if err != nil {
		return secret.Bytes{}, sealFailure("loading the sealed secret", err)
	}

	c.t.kept[loaded.ObjectHandle] = true
	defer c.flush(loaded.ObjectHandle)
	object, err := newKey(loaded.ObjectHandle, public)
	if err != nil {
		return secret.Bytes{}, err
	}

	rsp, err := run(c, "unsealing a secret", tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: object.handle, Name: object.name, Auth: id.latchSession()},
	})
	if err != nil {
		return secret.Bytes{}, sealFailure("unsealing a secret", err)
	}

	return secret.Own(rsp.OutData.Buffer), nil
}

// srkTemplate: the SRK is of the EK's kind, because that is what the TPM
// has (TCG TPM v2.0 Provisioning Guidance, section 7.5.1).
func (id *Identity) srkTemplate() tpm2.TPMTPublic {
	if id.ek.public.Type == tpm2.TPMAlgRSA {
		return tpm2.RSASRKTemplate
	}
	return tpm2.ECCSRKTemplate
}

// latchSession satisfies the policy and encrypts the reply to the EK. The
// PCR digest is left for the TPM to fill in (Part 3, section 23.7).
func (id *Identity) latchSession() tpm2.Session {
	return tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize,
		func(bus transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
			_, err := tpm2.PolicyPCR{PolicySession: session, Pcrs: selection(latchPCR)}.Execute(bus)
			return err
		},
		id.salted(), tpm2.AESEncryption(128, tpm2.EncryptOut))
}

// latchPolicy is the digest of PolicyPCR(PCR 15 = 0): Part 3, section 23.7.
func latchPolicy() []byte {
	zero := sha256.Sum256(make([]byte, 32))
	h := sha256.New()
	h.Write(make([]byte, 32))
	binary.Write(h, binary.BigEndian, tpm2.TPMCCPolicyPCR)
	h.Write(tpm2.Marshal(selection(latchPCR)))
	h.Write(zero[:])
	return h.Sum(nil)
}

func sealFailure(what string, err error) error {
	switch {
	case isRC(err, tpm2.TPMRCPolicyFail):
		return &Error{what, CodeSealPolicy, errors.New("PCR 15 is no longer zero")}
	case isRC(err, tpm2.TPMRCIntegrity), isRC(err, tpm2.TPMRCSensitive), isRC(err, tpm2.TPMRCBinding):
		return &Error{what, CodeSealForeign, errors.New("it was sealed by another TPM, or this one was cleared since")}
	}
	return err
}

// isRC compares response codes without their position bits.
func isRC(err error, rc tpm2.TPMRC) bool {
	got, ok := errors.AsType[tpm2.TPMRC](err)
	return ok && got.Is(rc)
}
