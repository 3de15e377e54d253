package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// nonceSize is the size of our nonces in sessions: that of AES-128, as
// Part 1, section 19.6.4, wants at least.
const nonceSize = 16

// Activate opens a credential (Part 3, section 12.5) made for this EK and
// this AK. The session that authorizes the EK is salted to it and encrypts
// the reply, so that nobody on the bus sees what comes out.
func (id *Identity) Activate(ctx context.Context, blob, seed []byte) (secret.Bytes, error) {
	c, end := id.tpm.begin(ctx)
	defer end()
	if err := id.loadAK(c); err != nil {
		return secret.Bytes{}, err
	}
	ready := id.takeReady(c)
	if ready == nil {
		return id.activate(c, blob, seed, id.ekSession())
	}
	plain, err := id.activate(c, blob, seed, ready)
	if e, ok := errors.AsType[*Error](err); ok && e.code == CodeFailed {
		return id.activate(c, blob, seed, id.ekSession()) // somebody took the session away
	}
	return plain, err
}

func (id *Identity) activate(c call, blob, seed []byte, session tpm2.Session) (secret.Bytes, error) {
	rsp, err := run(c, "activating the credential", tpm2.ActivateCredential{
		ActivateHandle: id.ak.auth(),
		KeyHandle:      tpm2.AuthHandle{Handle: id.ek.handle, Name: id.ek.name, Auth: session},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: blob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: seed},
	})
	if err != nil {
		return secret.Bytes{}, credentialFailure(err)
	}
	return secret.Own(rsp.CertInfo.Buffer), nil
}

// ekSession satisfies the EK's policy, PolicySecret of the endorsement
// hierarchy (EK Credential Profile, B.6.2), in one session that is also the
// encrypting one.
func (id *Identity) ekSession() tpm2.Session {
	return tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize,
		func(bus transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
			_, err := tpm2.PolicySecret{
				AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
				PolicySession: session, NonceTPM: nonce,
			}.Execute(bus)
			return err
		},
		id.salted(), tpm2.AESEncryption(128, tpm2.EncryptOut))
}

// salted ties a session's key to the EK: exactly the public area that the
// KMS was sent, so that an EK swapped on the bus is another node there.
func (id *Identity) salted() tpm2.AuthOption { return tpm2.Salted(id.ek.handle, id.ek.public) }

// credentialFailure: a blob that was not made for this EK and AK, or was
// altered, fails its integrity check or does not even decode.
func credentialFailure(err error) error {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCIntegrity, tpm2.TPMRCValue, tpm2.TPMRCSize, tpm2.TPMRCInsufficient, tpm2.TPMRCECCPoint, tpm2.TPMRCType} {
		if isRC(err, rc) {
			return &Error{"activating the credential", CodeCredential, rc}
		}
	}
	return err
}

// Quote signs the PCRs (SHA-256 bank) and extra with the AK, and reads
// their values.
func (id *Identity) Quote(ctx context.Context, pcrs []int, extra []byte) (kms.Quote, error) {
	if err := checkPCRs(pcrs); err != nil {
		return kms.Quote{}, err
	}
	c, end := id.tpm.begin(ctx)
	defer end()
	if err := id.loadAK(c); err != nil {
		return kms.Quote{}, err
	}

	return id.quote(c, pcrs, extra)
}

func (id *Identity) quote(c call, pcrs []int, extra []byte) (kms.Quote, error) {
	rsp, err := run(c, "quoting PCRs", tpm2.Quote{
		SignHandle:     id.ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: extra},
		PCRSelect:      selection(pcrs...),
	})
	if err != nil {
		return kms.Quote{}, err
	}

	values, err := id.quoted(c, pcrs, rsp.Quoted)
	if err != nil {
		return kms.Quote{}, err
	}
	return kms.Quote{
		Attest:    rsp.Quoted.Bytes(),
		Signature: tpm2.Marshal(rsp.Signature),
		PCRs:      values,
	}, nil
}

// quoted are the values of the PCRs that were quoted. Those that are known
// are they if the quote's digest is of them.
func (id *Identity) quoted(c call, pcrs []int, attest tpm2.TPM2BAttest) ([]kms.PCR, error) {
	var values []kms.PCR
	hash := sha256.New()
	for _, v := range id.pcrs {
		if slices.Contains(pcrs, v.Index) {
			values = append(values, v)
			hash.Write(v.Value[:])
		}
	}
	if digest, err := quotedDigest(attest); err == nil && bytes.Equal(digest, hash.Sum(nil)) {
		return values, nil
	}
	return c.readPCRs(pcrs)
}

// quotedDigest is the digest over the PCRs in a quote: Part 2, section
// 10.12.12.
func quotedDigest(attest tpm2.TPM2BAttest) ([]byte, error) {
	said, err := attest.Contents()
	if err != nil {
		return nil, err
	}
	quote, err := said.Attested.Quote()
	if err != nil {
		return nil, err
	}
	return quote.PCRDigest.Buffer, nil
}
