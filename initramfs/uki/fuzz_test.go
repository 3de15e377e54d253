package uki_test

import (
	"os"
	"testing"

	"latchkey/initramfs/uki"
)

// FuzzRead: no bytes make the reader panic, and an image that is read can
// be laid out again.
func FuzzRead(f *testing.F) {
	f.Add([]byte("MZ"))
	if data, err := os.ReadFile(stubFile); err == nil {
		f.Add(data[:1024])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := uki.ReadStub(data); err == nil {
			s.Version()
			s.PCR11(nil)
			s.Build([]uki.Section{{Name: ".pcrsig", Data: []byte("{}")}})
		}
		uki.Read(data)
	})
}
