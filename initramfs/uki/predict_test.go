package uki_test

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"

	"latchkey/initramfs/uki"
)

// TestPredict: a finished image, signed or not, has the PCR 11 that was
// computed when it was built, which TestPCR11 compares with systemd's. A
// kernel that has names of sections in its data does not make them measured.
func TestPredict(t *testing.T) {
	s, _ := readStub(t)
	by := signer(t)
	sections := append(parts(), uki.Section{Name: ".pcrpkey", Data: by.PublicKey()})
	sections[0].Data = append(sections[0].Data, ".ucode\x00.splash\x00.dtb\x00.uname\x00.nonsense\x00"...)
	want := s.PCR11(sections, uki.InInitrd)
	signed, err := by.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Build(append(sections, uki.Section{Name: ".pcrsig", Data: signed}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := uki.Predict(image, uki.InInitrd); err != nil || got != want {
		t.Errorf("Predict = %x, %v, want %x", got, err, want)
	}

	other := bytes.Replace(image, []byte("console=ttyS0"), []byte("console=ttyS1"), 1)
	if got, err := uki.Predict(other, uki.InInitrd); err != nil || got == want {
		t.Errorf("Predict of another command line = %x, %v", got, err)
	}
}

func TestPredictRejects(t *testing.T) {
	s, stub := readStub(t)
	image, err := s.Build(parts())
	if err != nil {
		t.Fatal(err)
	}
	twice := bytes.Replace(image, []byte(".osrel\x00\x00"), []byte(".cmdline"), 1)
	for want, data := range map[string][]byte{
		"no section .linux":            stub,
		"not a PE file":                pem.EncodeToMemory(&pem.Block{Type: "NONSENSE"}),
		"no section .sdmagic":          bytes.Replace(image, []byte(".sdmagic"), []byte(".nomagic"), 1),
		"it has two sections .cmdline": twice,
	} {
		if _, err := uki.Predict(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Predict = %v, want %q", err, want)
		}
	}
}
