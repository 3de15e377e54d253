package tpm

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// A Kairos is what the protocol of Kairos proves a machine by: its RSA EK and
// an attestation key. Nothing of it stays loaded between calls, so that it
// takes no room from other keys.
type Kairos struct {
	tpm     *TPM
	spki    []byte
	private tpm2.TPM2BPrivate
	public  tpm2.TPMTPublic
	ak      AttestationKey
	key     tpm2.TPMHandle
}

// An AttestationKey is a key with what its TPM says of its making:
// TPMT_PUBLIC, TPMS_CREATION_DATA, TPMS_ATTEST, TPMT_SIGNATURE.
type AttestationKey struct{ Public, CreateData, CreateAttestation, CreateSignature []byte }

// kairosPCRs are those that the client of Kairos quotes: firmware (0), its
// policy (7), what was booted (11).
var kairosPCRs = []int{0, 7, 11}

// Kairos makes an attestation key, and finds the EK. On a chip this takes
// seconds: both are RSA keys. Encrypt and Decrypt are by the key at a handle,
// such as KairosKey.
func (t *TPM) Kairos(ctx context.Context, key tpm2.TPMHandle) (*Kairos, error) {
	c, end := t.begin(ctx)
	defer end()
	c.makeRoom()
	spki, err := c.kairosEK()
	if err != nil {
		return nil, err
	}
	k := &Kairos{tpm: t, spki: spki, key: key}
	return k, k.makeAK(c)
}

// SPKI is the EK's SubjectPublicKeyInfo, DER. Its SHA-256 is TPMHash.
func (k *Kairos) SPKI() []byte { return slices.Clone(k.spki) }

// AK is the attestation key.
func (k *Kairos) AK() AttestationKey { return k.ak }

// Decrypt gives back what was encrypted to the machine's key.
func (k *Kairos) Decrypt(ctx context.Context, sealed []byte) (secret.Bytes, error) {
	return k.tpm.DecryptKairos(ctx, k.key, sealed)
}

// Encrypt encrypts a passphrase to the machine's key.
func (k *Kairos) Encrypt(ctx context.Context, s secret.Bytes) ([]byte, error) {
	return k.tpm.EncryptKairos(ctx, k.key, s)
}

// Renew makes another attestation key.
func (k *Kairos) Renew(ctx context.Context) error {
	c, end := k.tpm.begin(ctx)
	defer end()
	c.makeRoom()
	return k.makeAK(c)
}

// kairosAK is a restricted signing key, as the client of Kairos makes one.
func kairosAK() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
	}
}

// makeAK makes the key under the storage root key, and has it certify its own
// creation: TPM2_CertifyCreation, Part 3, section 18.3.
func (k *Kairos) makeAK(c call) error {
	const what = "creating an attestation key for Kairos"
	_, parent, err := c.chooseParent()
	if err != nil {
		return err
	}
	defer c.release(parent)
	made, err := run(c, what, tpm2.Create{ParentHandle: parent.auth(), InPublic: tpm2.New2B(kairosAK())})
	if err != nil {
		return err
	}
	public, err := made.OutPublic.Contents()
	if err == nil && !matches(*public, kairosAK()) {
		err = errors.New("the TPM made a key of another template")
	}
	if err != nil {
		return &Error{what, CodeFailed, err}
	}
	k.private, k.public = made.OutPrivate, *public
	ak, err := k.loadAK(c, parent)
	if err != nil {
		return err
	}
	defer c.flush(ak.handle)
	certified, err := run(c, "certifying the creation of a key", tpm2.CertifyCreation{
		SignHandle: ak.auth(), ObjectHandle: tpm2.NamedHandle{Handle: ak.handle, Name: ak.name},
		CreationHash: made.CreationHash, CreationTicket: made.CreationTicket, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	})
	if err != nil {
		return err
	}
	k.ak = AttestationKey{
		Public: made.OutPublic.Bytes(), CreateData: made.CreationData.Bytes(),
		CreateAttestation: certified.CertifyInfo.Bytes(), CreateSignature: tpm2.Marshal(certified.Signature),
	}
	return nil
}

func (k *Kairos) loadAK(c call, parent key) (key, error) {
	loaded, err := run(c, "loading an attestation key", tpm2.Load{ParentHandle: parent.auth(), InPrivate: k.private, InPublic: tpm2.New2B(k.public)})
	if err != nil {
		return key{}, err
	}
	c.t.kept[loaded.ObjectHandle] = true
	return newKey(loaded.ObjectHandle, k.public)
}

// Prove opens a credential that was made for both keys, and quotes PCRs 0, 7
// and 11 without a nonce, as the protocol has it. Credential and seed are
// whole TPM2B.
func (k *Kairos) Prove(ctx context.Context, credential, seed []byte) (secret.Bytes, kms.Quote, error) {
	blob, err := contentOf2B(credential)
	if err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	encrypted, err := contentOf2B(seed)
	if err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	c, end := k.tpm.begin(ctx)
	defer end()
	c.makeRoom()
	id := &Identity{tpm: k.tpm}
	defer id.release(c)
	if id.ak, err = k.loadUnderParent(c); err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	if id.ek, err = k.loadEK(c); err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}

	opened, err := id.activate(c, blob, encrypted, id.ekSession())
	if err != nil {
		return secret.Bytes{}, kms.Quote{}, err
	}
	quote, err := id.quote(c, kairosPCRs, nil)
	if err != nil {
		opened.Wipe()
		return secret.Bytes{}, kms.Quote{}, err
	}
	return opened, quote, nil
}

func (k *Kairos) loadUnderParent(c call) (key, error) {
	_, parent, err := c.chooseParent()
	if err != nil {
		return key{}, err
	}
	defer c.release(parent)
	return k.loadAK(c, parent)
}

// loadEK takes the persistent key if it is the one that names this machine,
// and else makes it.
func (k *Kairos) loadEK(c call) (ek key, err error) {
	if rsp, err := run(c, "reading the persistent endorsement key", tpm2.ReadPublic{ObjectHandle: persistentRSAEK}); err == nil {
		if public, err := rsp.OutPublic.Contents(); err == nil && matches(*public, tpm2.RSAEKTemplate) {
			kept, err := newKey(persistentRSAEK, *public)
			if spki, bad := spkiOf(kept); err == nil && bad == nil && bytes.Equal(spki, k.spki) {
				return kept, nil
			}
		}
	}
	if ek, err = c.makeKairosEK(); err != nil {
		return key{}, err
	}
	if spki, err := spkiOf(ek); err != nil || !bytes.Equal(spki, k.spki) {
		c.flush(ek.handle)
		return key{}, &Error{"loading the endorsement key", CodeUnsupported, errors.New("the certificate in NV 0x01c00002 is of a key that this TPM does not make, and 0x81010001 has it not either")}
	}
	return ek, nil
}

// contentOf2B takes the size off a whole TPM2B: Part 2, section 10.4.
func contentOf2B(b []byte) ([]byte, error) {
	if len(b) < 2 || int(b[0])<<8+int(b[1]) != len(b)-2 {
		return nil, &Error{"reading a challenge", CodeCredential, errors.New("it is no whole TPM2B")}
	}
	return b[2:], nil
}
