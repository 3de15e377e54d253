package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
)

// ErrNoNV is wrapped by the error of an index that was never written.
var ErrNoNV = errors.New("the TPM has nothing there")

// ReadKairos reads the encrypted passphrase of a machine that asks no server.
// The error wraps ErrNoNV if there is none yet.
func (t *TPM) ReadKairos(ctx context.Context, index tpm2.TPMHandle) ([]byte, error) {
	c, end := t.begin(ctx)
	defer end()
	blob, err := c.readNV(index)
	what := fmt.Sprintf("reading NV index %#x", index)
	switch {
	case isRC(err, tpm2.TPMRCHandle), isRC(err, tpm2.TPMRCNVUninitialized):
		return nil, &Error{what, CodeSealForeign, ErrNoNV}
	case err == nil && len(blob) != sealedSize:
		return nil, &Error{what, CodeSealForeign, fmt.Errorf("it has %d bytes, not the %d of an encrypted passphrase", len(blob), sealedSize)}
	}
	return blob, err
}

// kairosNV is the index as Kairos defines it: ownerwrite, ownerread,
// authread, ppread.
func kairosNV(index tpm2.TPMHandle, size int) tpm2.TPMSNVPublic {
	return tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(size),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, PPRead: true},
	}
}

// WriteKairos keeps an encrypted passphrase in an index that was never
// written. One that was is not touched: a disk may need what is in it.
func (t *TPM) WriteKairos(ctx context.Context, index tpm2.TPMHandle, blob []byte) error {
	c, end := t.begin(ctx)
	defer end()
	what := fmt.Sprintf("writing NV index %#x", index)
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	public := kairosNV(index, len(blob))
	_, err := run(c, what, tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(public)})
	if err != nil && !isRC(err, tpm2.TPMRCNVDefined) { // defined: power may have failed right after it
		return err
	}
	rsp, err := run(c, what, tpm2.NVReadPublic{NVIndex: index})
	if err != nil {
		return err
	}
	there, err := rsp.NVPublic.Contents()
	if err == nil && !bytes.Equal(tpm2.Marshal(*there), tpm2.Marshal(public)) {
		err = errors.New("there is something already, and a disk may need it")
	}
	if err != nil {
		return &Error{what, CodeFailed, err}
	}
	_, err = run(c, what, tpm2.NVWrite{
		AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: index, Name: rsp.NVName}, Data: tpm2.TPM2BMaxNVBuffer{Buffer: blob},
	})
	return err
}

// KeptByKairos is the passphrase that the TPM keeps: what is in the index,
// decrypted by the key.
func (t *TPM) KeptByKairos(ctx context.Context, index, key tpm2.TPMHandle) (secret.Bytes, error) {
	sealed, err := t.ReadKairos(ctx, index)
	if err != nil {
		return secret.Bytes{}, err
	}
	return t.DecryptKairos(ctx, key, sealed)
}
