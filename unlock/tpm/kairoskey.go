package tpm

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
)

// Where Kairos keeps what a machine makes by itself.
const (
	// KairosKey is the persistent key that encrypts passphrases: c_index.
	KairosKey = tpm2.TPMHandle(0x81000008)
	// KairosNV is the index with the encrypted passphrase of a machine that
	// asks no server: nv_index.
	KairosNV = tpm2.TPMHandle(0x01500000)
)

// sealedSize is what RSA-OAEP makes of a passphrase under an RSA-2048 key.
const sealedSize = 256

// DecryptKairos gives back what was encrypted to a persistent key: RSA-OAEP
// with SHA-256 and an empty label. Nobody on the bus sees what comes out.
func (t *TPM) DecryptKairos(ctx context.Context, handle tpm2.TPMHandle, sealed []byte) (secret.Bytes, error) {
	c, end := t.begin(ctx)
	defer end()
	c.makeRoom()
	k, err := c.persistentKey(handle)
	if err != nil {
		return secret.Bytes{}, err
	}
	rsp, err := run(c, "decrypting a passphrase", tpm2.RSADecrypt{
		KeyHandle: tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize,
			tpm2.Salted(k.handle, k.public), tpm2.AESEncryption(128, tpm2.EncryptOut))},
		CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: sealed},
		InScheme: tpm2.TPMTRSADecrypt{
			Scheme:  tpm2.TPMAlgOAEP,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgOAEP, &tpm2.TPMSEncSchemeOAEP{HashAlg: tpm2.TPMAlgSHA256}),
		},
	})
	switch {
	case isRC(err, tpm2.TPMRCValue), isRC(err, tpm2.TPMRCSize), isRC(err, tpm2.TPMRCFailure): // libtpms: FAILURE for bad padding
		return secret.Bytes{}, &Error{"decrypting a passphrase", CodeSealForeign, fmt.Errorf("it was not encrypted to the key at %#08x of this TPM", handle)}
	case err != nil:
		return secret.Bytes{}, err
	}
	return secret.Own(rsp.Message.Buffer), nil
}

// persistentKey reads a key that is there.
func (c call) persistentKey(handle tpm2.TPMHandle) (key, error) {
	what := fmt.Sprintf("reading the key at %#08x", handle)
	rsp, err := run(c, what, tpm2.ReadPublic{ObjectHandle: handle})
	if isRC(err, tpm2.TPMRCHandle) {
		return key{}, &Error{what, CodeSealForeign, errors.New("there is none: this TPM was cleared, or the passphrase is another machine's")}
	}
	if err != nil {
		return key{}, err
	}
	public, err := rsp.OutPublic.Contents()
	if err == nil && public.Type != tpm2.TPMAlgRSA {
		err = errors.New("it is no RSA key")
	}
	if err != nil {
		return key{}, &Error{what, CodeUnsupported, err}
	}
	return newKey(handle, *public)
}

// kairosKey is the key that encrypts passphrases. The attributes are those of
// Kairos: sign, decrypt, userWithAuth, sensitiveDataOrigin.
func kairosKey() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SensitiveDataOrigin: true, UserWithAuth: true, Decrypt: true, SignEncrypt: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048}),
	}
}

// EncryptKairos encrypts a passphrase to a persistent key, which is made if
// it is not there: from then on only this TPM gives the passphrase back.
func (t *TPM) EncryptKairos(ctx context.Context, handle tpm2.TPMHandle, s secret.Bytes) ([]byte, error) {
	c, end := t.begin(ctx)
	defer end()
	c.makeRoom()
	k, err := c.persistentKey(handle)
	if e, ok := errors.AsType[*Error](err); ok && e.code == CodeSealForeign {
		k, err = c.persist(handle, kairosKey())
	}
	if err != nil {
		return nil, err
	}
	parameters, err := k.public.Parameters.RSADetail()
	if err != nil {
		return nil, &Error{"reading a key", CodeFailed, err}
	}
	modulus, err := k.public.Unique.RSA()
	if err != nil {
		return nil, &Error{"reading a key", CodeFailed, err}
	}
	public, err := tpm2.RSAPub(parameters, modulus)
	if err != nil {
		return nil, &Error{"reading a key", CodeFailed, err}
	}
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, public, s.Reveal(), nil)
}

// persist makes a primary key of the owner's and keeps it in NV.
func (c call) persist(handle tpm2.TPMHandle, template tpm2.TPMTPublic) (key, error) {
	k, err := c.createPrimary("creating a key that encrypts passphrases", tpm2.TPMRHOwner, template)
	if err != nil {
		return key{}, err
	}
	defer c.flush(k.handle)
	if err := c.evict("keeping a key", k, handle); err != nil {
		return key{}, err
	}
	return newKey(handle, k.public)
}
