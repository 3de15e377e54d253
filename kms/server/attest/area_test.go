package attest_test

import (
	"bytes"
	"testing"

	"latchkey/kms/server/attest"
	"latchkey/kms/softtpm"
)

// C4: an EK or an AK that differs from its template in any bit of type,
// attributes, policy, algorithms or curve is refused.
func TestKeysAreTheirTemplates(t *testing.T) {
	tpm, err := softtpm.New()
	if err != nil {
		t.Fatal(err)
	}
	rsa := []byte("\x00\x01\x00\x0b\x00\x03\x00\xb2\x00\x20" +
		"\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa" +
		"\x00\x06\x00\x80\x00\x43\x00\x10\x08\x00\x00\x00\x00\x00\x01\x00")
	head := len(rsa)
	rsa = append(rsa, bytes.Repeat([]byte{0x81}, 256)...)

	for _, row := range []struct {
		name string
		area []byte
		head int // bytes before the key itself
		read func([]byte) error
	}{
		{"EK, P-256", tpm.EKPublic(), len(tpm.EKPublic()) - 68, func(b []byte) error { _, err := attest.ReadEK(b); return err }},
		{"EK, RSA-2048", rsa, head, func(b []byte) error { _, err := attest.ReadEK(b); return err }},
		{"AK", tpm.AKPublic(), len(tpm.AKPublic()) - 68, func(b []byte) error { _, err := attest.ReadAK(b); return err }},
	} {
		if err := row.read(row.area); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		for i := range row.head * 8 {
			other := bytes.Clone(row.area)
			other[i/8] ^= 1 << (i % 8)
			if row.read(other) == nil {
				t.Errorf("%s: taken with bit %d of byte %d changed", row.name, i%8, i/8)
			}
		}
		if row.name == "EK, RSA-2048" {
			for _, at := range []int{head, len(rsa) - 1} { // the modulus' highest bit, and its lowest
				other := bytes.Clone(rsa)
				other[at] &= 0x7e
				if row.read(other) == nil {
					t.Errorf("%s: taken with a modulus that is too short or even", row.name)
				}
			}
		}
		if row.read(append(bytes.Clone(row.area), 0)) == nil || row.read(row.area[:len(row.area)-1]) == nil {
			t.Errorf("%s: taken too long or too short", row.name)
		}
	}
}
