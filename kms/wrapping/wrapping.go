// Package wrapping keeps the key that wraps a database's key in the host's
// TPM: whoever has the disk without that chip, or with another boot state,
// has nothing. The blob is a file; the TPM alone opens it.
package wrapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
)

// KeySize is the size of a wrapping key, in bytes.
const KeySize = 32

// ErrElsewhere is a blob of another TPM, or of this one before it was
// cleared.
var ErrElsewhere = errors.New("it was sealed by another TPM, or this one was cleared since")

// ErrBootState is a boot state that is not the one it was sealed in.
var ErrBootState = errors.New("the host did not boot what it had booted when the key was sealed (the PCRs differ)")

// A sealed is the blob, as JSON: a TPM's object, under a storage key of this
// name, that opens while these PCRs (SHA-256 bank) are what they were.
type sealed struct {
	Version int    `json:"version"` // 1
	PCRs    []int  `json:"pcrs"`
	Parent  []byte `json:"parent"` // name: Part 1, section 16
	Private []byte `json:"private"`
	Public  []byte `json:"public"`
}

// maxBlob bounds a blob, in bytes.
const maxBlob = 4096

// CheckPCRs: at least one, and none that anybody may reset (16, 23) or that
// does not outlast the start of the kernel's own (17 to 22).
func CheckPCRs(pcrs []int) error {
	if len(pcrs) == 0 {
		return errors.New("name at least one PCR")
	}
	for _, pcr := range pcrs {
		if pcr < 0 || pcr > 15 {
			return fmt.Errorf("PCR %d is not one of 0 to 15", pcr)
		}
	}
	return nil
}

// Seal encloses a key, to be opened in the boot state that is now.
func Seal(bus transport.TPM, key secret.Bytes, pcrs []int) ([]byte, error) {
	pcrs = slices.Compact(slices.Sorted(slices.Values(pcrs)))
	if err := CheckPCRs(pcrs); err != nil {
		return nil, err
	}

	if key.Len() != KeySize {
		return nil, fmt.Errorf("sealing the wrapping key: it has %d bytes, not %d", key.Len(), KeySize)
	}
	parent, err := newParent(bus)
	if err != nil {
		return nil, err
	}
	defer parent.flush(bus)
	policy, err := policyNow(bus, pcrs)
	if err != nil {
		return nil, err
	}

	data := key.Clone()
	defer data.Wipe()
	made, err := tpm2.Create{
		ParentHandle: parent.auth(),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data.Reveal()}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, AdminWithPolicy: true, NoDA: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy},
		}),
	}.Execute(bus, tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, parent.salted(), tpm2.AESEncryption(128, tpm2.EncryptIn)))
	if err != nil {
		return nil, fmt.Errorf("sealing the wrapping key: %w", err)
	}

	return json.Marshal(sealed{1, pcrs, parent.name.Buffer, made.OutPrivate.Buffer, made.OutPublic.Bytes()})
}

// Unseal opens what Seal made. Its errors wrap ErrElsewhere, ErrBootState,
// or what the TPM said.
func Unseal(bus transport.TPM, blob []byte) (secret.Bytes, error) {
	b, err := parse(blob)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unsealing the wrapping key: %w", err)
	}
	key, err := unseal(bus, b)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unsealing the wrapping key: %w", err)
	}
	if key.Len() != KeySize {
		key.Wipe()
		return secret.Bytes{}, fmt.Errorf("unsealing the wrapping key: it has %d bytes, not %d", key.Len(), KeySize)
	}
	return key, nil
}

func unseal(bus transport.TPM, b *sealed) (secret.Bytes, error) {
	parent, err := newParent(bus)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer parent.flush(bus)
	if !bytes.Equal(parent.name.Buffer, b.Parent) {
		return secret.Bytes{}, ErrElsewhere
	}

	loaded, err := tpm2.Load{
		ParentHandle: parent.auth(), InPrivate: tpm2.TPM2BPrivate{Buffer: b.Private},
		InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](b.Public),
	}.Execute(bus)
	if err != nil {
		return secret.Bytes{}, explain(err)
	}
	defer tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(bus)
	session := tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, func(bus transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicyPCR{PolicySession: session, Pcrs: selection(b.PCRs)}.Execute(bus)
		return err
	}, parent.salted(), tpm2.AESEncryption(128, tpm2.EncryptOut))

	out, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: session}}.Execute(bus)
	if err != nil {
		return secret.Bytes{}, explain(err)
	}
	return secret.Own(out.OutData.Buffer), nil
}

func parse(blob []byte) (*sealed, error) {
	if len(blob) > maxBlob {
		return nil, fmt.Errorf("the blob has more than %d bytes", maxBlob)
	}
	var b sealed
	d := json.NewDecoder(bytes.NewReader(blob))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return nil, fmt.Errorf("the blob is no JSON of ours: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || b.Version != 1 {
		return nil, errors.New("the blob is not of version 1")
	}
	return &b, CheckPCRs(b.PCRs)
}

// explain names what a TPM's code means here.
func explain(err error) error {
	code, ok := errors.AsType[tpm2.TPMRC](err)
	switch {
	case ok && code.Is(tpm2.TPMRCPolicyFail):
		return ErrBootState
	case ok && (code.Is(tpm2.TPMRCIntegrity) || code.Is(tpm2.TPMRCSensitive) || code.Is(tpm2.TPMRCBinding) || code.Is(tpm2.TPMRCSize)):
		return ErrElsewhere
	}
	return err
}
