package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// joinBlob is a sealed secret as bytes: TPM2B_PRIVATE, then TPM2B_PUBLIC.
func joinBlob(private, public []byte) []byte {
	var blob []byte
	for _, part := range [][]byte{private, public} {
		blob = binary.BigEndian.AppendUint16(blob, uint16(len(part)))
		blob = append(blob, part...)
	}
	return blob
}

// splitBlob reads a blob and accepts only the public area that Seal gives:
// another policy or attribute would mean that another password or state
// opens it.
func splitBlob(blob []byte) (private []byte, public tpm2.TPMTPublic, err error) {
	private, rest, ok := cut(blob)
	if !ok || len(private) == 0 {
		return nil, public, foreign("it has not the shape of a sealed secret")
	}

	area, rest, ok := cut(rest)
	if !ok || len(rest) != 0 || len(area) > 1024 {
		return nil, public, foreign("it has not the shape of a sealed secret")
	}

	want := sealTemplate(latchPolicy())
	want.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: make([]byte, 32)})
	want.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{})
	expect := tpm2.Marshal(want)
	fixed := len(expect) - 32
	if len(area) != len(expect) || !bytes.Equal(area[:fixed], expect[:fixed]) {
		return nil, public, foreign("its public area is not of latchkey's template")
	}

	want.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: bytes.Clone(area[fixed:])})
	return private, want, nil
}

func foreign(why string) error {
	return &Error{"reading the sealed secret", CodeSealForeign, errors.New(why)}
}

// cut takes one field with a length of two bytes off b.
func cut(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
