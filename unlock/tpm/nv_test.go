package tpm

import (
	"bytes"
	"testing"
)

// What an NV index holds is a certificate with its own length, and what
// follows is cut; anything else is none.
func FuzzCertificateIn(f *testing.F) {
	whole := append([]byte{0x30, 0x82, 0x01, 0x00}, bytes.Repeat([]byte{7}, 256)...)
	for _, nv := range [][]byte{nil, whole, append(bytes.Clone(whole), 0xff, 0xff), whole[:200], {0x30, 0x82, 0xff, 0xff}, {0x30, 0x03, 1, 2, 3}} {
		f.Add(nv)
	}

	f.Fuzz(func(t *testing.T, nv []byte) {
		der := certificateIn(nv)
		if der == nil {
			return
		}
		if !bytes.HasPrefix(nv, der) || len(der) > maxCertificate || len(der) != 4+int(der[2])<<8+int(der[3]) {
			t.Errorf("certificateIn(%x) = %x", nv, der)
		}
	})

	if got := certificateIn(append(bytes.Clone(whole), 0xff)); !bytes.Equal(got, whole) {
		f.Errorf("a padded certificate gives %d bytes, want %d", len(got), len(whole))
	}
}
