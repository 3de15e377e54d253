package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs/uki"
)

// signedImage is a unified kernel image with the PCR 11 that it has, the
// signature of it, and who signed it.
func signedImage(t *testing.T) (image []byte, value [32]byte, signed []byte, by *uki.Signer) {
	t.Helper()
	data, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		t.Skipf("needs systemd's boot stub: run images/deps (%v)", err)
	}
	stub, err := uki.ReadStub(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if by, err = uki.ReadSigner(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})); err != nil {
		t.Fatal(err)
	}
	sections := []uki.Section{
		{Name: ".linux", Data: []byte("a kernel")},
		{Name: ".initrd", Data: []byte("an initrd")},
		{Name: ".cmdline", Data: []byte("root=/dev/mapper/root ro")},
		{Name: ".pcrpkey", Data: by.PublicKey()},
	}
	value = stub.PCR11(sections, uki.InInitrd)
	if signed, err = by.Sign(value); err != nil {
		t.Fatal(err)
	}
	if image, err = stub.Build(append(sections, uki.Section{Name: ".pcrsig", Data: signed})); err != nil {
		t.Fatal(err)
	}
	return image, value, signed, by
}

// TestReleaseOfAnImage: PCR 11 is computed from a unified kernel image; its
// own signatures are held against it; with --signed-by they are what counts.
func TestReleaseOfAnImage(t *testing.T) {
	image, value, signed, by := signedImage(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, pub := write("good.efi", image), write("pcr.pub", by.PublicKey())
	changed := write("changed.efi", bytes.Replace(image, []byte("an initrd"), []byte("ANOTHER 1"), 1))

	var warned strings.Builder
	n, err := (&addFlags{}).release(&warned, []string{"r", good})
	if err != nil || n.PCRs[11] != value || warned.Len() > 0 || !strings.Contains(n.What, `"root=/dev/mapper/root ro"`) {
		t.Errorf("release of an image = %+v, %v with warning %q, want PCR 11 %x", n, err, warned.String(), value)
	}
	if n, err = (&addFlags{key: pub}).release(&warned, []string{"r", good}); err != nil || len(n.PCRs) > 0 || n.PublicKey != string(by.PublicKey()) || n.Signatures != string(signed) {
		t.Errorf("release by signature = %+v, %v", n, err)
	}
	if _, err = (&addFlags{key: pub, signatures: write("pcr.json", signed)}).release(&warned, []string{"r"}); err != nil || warned.Len() > 0 {
		t.Errorf("release of signatures alone: %v, %q", err, warned.String())
	}

	// One that was changed after it was signed.
	if _, err := (&addFlags{key: pub}).release(&warned, []string{"r", changed}); err == nil || !strings.Contains(err.Error(), "is not among those that were signed") {
		t.Errorf("release by signature of a changed image: %v", err)
	}
	n, err = (&addFlags{}).release(&warned, []string{"r", changed})
	if err != nil || n.PCRs[11] == value || !strings.Contains(warned.String(), "is not among those that were signed") {
		t.Errorf("release of a changed image = %+v, %v with warning %q", n, err, warned.String())
	}
	if _, err := (&addFlags{pcrs: []string{"11:sha256=" + strings.Repeat("ab", 32)}}).release(&warned, []string{"r", good}); err == nil {
		t.Error("PCR 11 was taken twice")
	}
}
