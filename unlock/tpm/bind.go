package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
)

// Bind seals a secret so that Unseal gives it back as the policy says, with
// PCRs as they are now, or as the policy has their values. Nothing is written
// to NV. PCRs are those of the SHA-256 bank.
//
// The first is where systemd looks for it: under the storage root key in NV if
// one is there, else under a plain primary key. If that one is subject to the
// dictionary-attack protection, so that power cuts lock it (see orderly), the
// second is the same secret under the TCG's storage root key, made anew
// whenever it is asked for.
func (t *TPM) Bind(ctx context.Context, s secret.Bytes, policy []Policy) ([]Sealed, error) {
	if s.Len() == 0 || s.Len() > maxSealed || len(policy) > maxPolicy {
		return nil, &Error{"sealing a secret", CodeUnsupported, errors.New("only 1 to 128 bytes can be sealed")}
	}
	c, end := t.begin(ctx)
	defer end()
	c.makeRoom()
	digest, err := c.digestOf(policy)
	if err != nil {
		return nil, err
	}
	at, parent, err := c.chooseParent()
	if err != nil {
		return nil, err
	}
	first, err := c.bindUnder(at, parent, s, digest)
	first.Policy = policy
	if err != nil || parent.public.ObjectAttributes.NoDA {
		return []Sealed{first}, err
	}

	at = Parent{Template: SRKP256}
	if parent.public.Type == tpm2.TPMAlgRSA {
		at.Template = SRKRSA2048
	}
	if parent, err = c.loadParent(at); err != nil {
		return nil, err
	}
	second, err := c.bindUnder(at, parent, s, digest)
	second.Policy = policy
	return []Sealed{first, second}, err
}

// bindUnder seals a secret under a storage key, and unloads that.
func (c call) bindUnder(at Parent, parent key, s secret.Bytes, policy [32]byte) (Sealed, error) {
	defer c.release(parent)
	defer c.orderly(parent.public.ObjectAttributes)
	template := sealTemplate(policy[:])
	template.ObjectAttributes.AdminWithPolicy = false // as systemd's
	data := s.Clone()
	defer data.Wipe()
	rsp, err := run(c, "sealing a secret", tpm2.Create{
		ParentHandle: parent.auth(),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data.Reveal()}),
		}},
		InPublic: tpm2.New2B(template),
	}, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, tpm2.Salted(parent.handle, parent.public), tpm2.AESEncryption(128, tpm2.EncryptIn)))
	if err != nil {
		return Sealed{}, err
	}
	at.Name, at.Public = parent.name.Buffer, tpm2.Marshal(parent.public)
	return Sealed{Parent: at, Private: rsp.OutPrivate.Buffer, Public: rsp.OutPublic.Bytes()}, nil
}

// chooseParent finds the storage root key in NV, or makes a plain one of the
// kind that the TPM has.
func (c call) chooseParent() (Parent, key, error) {
	at := Parent{Handle: PersistentSRK}
	parent, err := c.loadParent(at)
	if e, ok := errors.AsType[*Error](err); ok && e.code == CodeSealForeign {
		p256, listed := c.hasP256()
		if listed != nil {
			return at, key{}, listed
		}
		at = Parent{Template: PlainP256}
		if !p256 {
			at.Template = PlainRSA2048
		}
		parent, err = c.loadParent(at)
	}
	return at, parent, err
}

// digestOf is the digest of a policy, with the PCRs of now or its own: Part 3,
// sections 23.7, 23.16 and 23.17.
func (c call) digestOf(policy []Policy) (digest [32]byte, err error) {
	for _, p := range policy {
		switch p := p.(type) {
		case PCRs:
			if p.Bank != crypto.SHA256 {
				return digest, &Error{"sealing a secret", CodeUnsupported, errors.New("PCRs can be sealed to in the bank sha256 only")}
			}
			values, err := c.readPCRs(p.PCRs)
			if err != nil {
				return digest, err
			}
			sum := sha256.New()
			for _, v := range values {
				if to, ok := p.Values[v.Index]; ok {
					v.Value = to
				}
				sum.Write(v.Value[:])
			}
			digest = extendPolicy(digest, tpm2.TPMCCPolicyPCR, tpm2.Marshal(selection(p.PCRs...)), sum.Sum(nil))
		case SignedPCRs:
			public := p.public()
			name, err := tpm2.ObjectName(&public)
			if err != nil {
				return digest, &Error{"naming the key that signs PCRs", CodeUnsupported, err}
			}
			digest = extendPolicy([32]byte{}, tpm2.TPMCCPolicyAuthorize, name.Buffer)
			digest = sha256.Sum256(digest[:]) // an empty policyRef
		case PIN:
			digest = extendPolicy(digest, tpm2.TPMCCPolicyAuthValue)
		}
	}
	return digest, nil
}

func extendPolicy(digest [32]byte, cc tpm2.TPMCC, parts ...[]byte) [32]byte {
	b := binary.BigEndian.AppendUint32(digest[:], uint32(cc))
	for _, p := range parts {
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}
