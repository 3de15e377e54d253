package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// NV indexes of the EK's certificates and nonce (TCG EK Credential Profile
// 2.3, section 2.2.1.4).
const (
	nvRSACertificate  = tpm2.TPMHandle(0x01C00002)
	nvRSANonce        = tpm2.TPMHandle(0x01C00003)
	nvP256Certificate = tpm2.TPMHandle(0x01C0000A)
)

// maxNV bounds what is read of one index; nvChunk is within every TPM's
// TPM_PT_NV_BUFFER_MAX.
const (
	maxNV   = 8192
	nvChunk = 512
)

// ekCertificate is the EK's certificate or nothing: many TPMs have none,
// and without it the operator's approval is what counts.
func (c call) ekCertificate(kind EK) []byte {
	index := nvP256Certificate
	if kind == EKRSA2048 {
		index = nvRSACertificate
	}
	der, err := c.readNV(index)
	if err != nil {
		return nil
	}
	return der
}

// readNV reads an index that needs no password of its own.
func (c call) readNV(index tpm2.TPMHandle) ([]byte, error) {
	rsp, err := run(c, "reading an NV index", tpm2.NVReadPublic{NVIndex: index})
	if err != nil {
		return nil, err
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nil, &Error{"reading an NV index", CodeFailed, err}
	}
	if public.DataSize > maxNV {
		return nil, &Error{"reading an NV index", CodeFailed, errors.New("it is larger than 8 KiB")}
	}
	handle := tpm2.AuthHandle{Handle: index, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)}
	var data []byte
	for len(data) < int(public.DataSize) {
		part, err := run(c, "reading an NV index", tpm2.NVRead{
			AuthHandle: handle, NVIndex: tpm2.NamedHandle{Handle: index, Name: rsp.NVName},
			Size: min(nvChunk, public.DataSize-uint16(len(data))), Offset: uint16(len(data)),
		})
		if err != nil {
			return nil, err
		}
		if len(part.Data.Buffer) == 0 {
			return nil, &Error{"reading an NV index", CodeFailed, errShort}
		}
		data = append(data, part.Data.Buffer...)
	}
	return data, nil
}

// Hash is Kairos' name for this machine, TPMHash: lower-case hex SHA-256 of
// the SubjectPublicKeyInfo of the RSA EK. The key is the certificate's if
// the TPM holds one, else the one made of template L-1, with the nonce in
// NV if there is one.
func (t *TPM) Hash(ctx context.Context) (string, error) {
	c, end := t.begin(ctx)
	defer end()
	if der, err := c.readNV(nvRSACertificate); err == nil {
		if cert, err := x509.ParseCertificate(trimDER(der)); err == nil {
			return hashSPKI(cert.PublicKey)
		}
	}
	template := tpm2.RSAEKTemplate
	if nonce, err := c.readNV(nvRSANonce); err == nil && len(nonce) <= 256 {
		unique := make([]byte, 256)
		copy(unique, nonce)
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: unique})
	}
	ek, err := c.createPrimary("creating the RSA-2048 endorsement key", tpm2.TPMRHEndorsement, template)
	if err != nil {
		return "", err
	}
	defer c.flush(ek.handle)
	public, err := tpm2.Pub(ek.public)
	if err != nil {
		return "", &Error{"reading the endorsement key", CodeFailed, err}
	}
	return hashSPKI(public)
}

func hashSPKI(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", &Error{"encoding the endorsement key", CodeFailed, err}
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// trimDER drops what follows the outermost SEQUENCE: NV indexes are often
// larger than the certificate in them.
func trimDER(b []byte) []byte {
	if len(b) < 4 || b[0] != 0x30 || b[1] != 0x82 {
		return b
	}
	return b[:min(len(b), 4+(int(b[2])<<8|int(b[3])))]
}
