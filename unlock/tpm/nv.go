package tpm

import (
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
	return certificateIn(der)
}

// maxCertificate is what lk1 carries of one, in bytes.
const maxCertificate = 4096

// certificateIn cuts what follows a certificate in an index that is longer
// than it: a SEQUENCE with a length of two bytes (X.690, section 8.1.3.5).
func certificateIn(nv []byte) []byte {
	if len(nv) < 4 || nv[0] != 0x30 || nv[1] != 0x82 {
		return nil
	}
	n := 4 + int(nv[2])<<8 + int(nv[3])
	if n > len(nv) || n > maxCertificate {
		return nil
	}
	return nv[:n]
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
