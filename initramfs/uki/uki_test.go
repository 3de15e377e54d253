package uki_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs/uki"
	"latchkey/kms/server/policy"
)

// stubFile is Debian's, of the package systemd-boot-efi.
const stubFile = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

func readStub(t testing.TB) (*uki.Stub, []byte) {
	t.Helper()
	data, err := os.ReadFile(stubFile)
	if err != nil {
		t.Skipf("needs systemd's boot stub: run images/deps (%v)", err)
	}
	s, err := uki.ReadStub(data)
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

// parts are sections of odd lengths, so that padding would show.
func parts() []uki.Section {
	return []uki.Section{
		{Name: ".linux", Data: bytes.Repeat([]byte("kernel"), 1001)},
		{Name: ".osrel", Data: []byte("ID=test\nVERSION_ID=1\n")},
		{Name: ".cmdline", Data: []byte("console=ttyS0 root=/dev/mapper/root")},
		{Name: ".initrd", Data: bytes.Repeat([]byte{7, 0}, 4097)},
	}
}

func tool(t *testing.T, name string, paths ...string) string {
	t.Helper()
	for _, p := range append(paths, name) {
		if full, err := exec.LookPath(p); err == nil {
			return full
		}
	}
	t.Skipf("needs %s: run images/deps", name)
	return ""
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBuild: what goes in comes out, the same bytes each time, and objdump
// reads the file as we meant it.
func TestBuild(t *testing.T) {
	s, _ := readStub(t)
	image, err := s.Build(parts())
	if err != nil {
		t.Fatal(err)
	}

	got, err := uki.Read(image)
	if err != nil {
		t.Fatal(err)
	}
	want := append(parts()[1:], parts()[0]) // the kernel is last
	if diff := cmp.Diff(want, without(got, ".sbat")); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}

	again, err := s.Build(parts())
	if err != nil || !bytes.Equal(image, again) {
		t.Errorf("the same sections gave other bytes: %v", err)
	}

	dump := run(t, tool(t, "objdump"), "-h", write(t, "uki.efi", image))
	for _, name := range []string{".text", ".sdmagic", ".osrel", ".cmdline", ".initrd", ".linux"} {
		if !regexp.MustCompile(`\s` + regexp.QuoteMeta(name) + `\s`).MatchString(dump) {
			t.Errorf("objdump does not see section %s:\n%s", name, dump)
		}
	}
}

func without(all []uki.Section, name string) []uki.Section {
	var out []uki.Section
	for _, s := range all {
		if s.Name != name {
			out = append(out, s)
		}
	}
	return out
}

// TestPCR11 compares with what systemd predicts for the same sections.
//
// compatible: Boot | systemd-measure (Debian 12) | PCR 11 is what it says
func TestPCR11(t *testing.T) {
	s, _ := readStub(t)
	measure := tool(t, "systemd-measure", "/lib/systemd/systemd-measure", "/usr/lib/systemd/systemd-measure")

	sections := append(parts(), uki.Section{Name: ".pcrpkey", Data: signer(t).PublicKey()})
	for _, phases := range [][]string{{}, {uki.InInitrd}, {uki.InInitrd, "leave-initrd"}} {
		args := []string{"calculate", "--bank=sha256", "--phase=" + strings.Join(phases, ":")}
		for _, sec := range sections {
			args = append(args, "--"+sec.Name[1:]+"="+write(t, sec.Name[1:], sec.Data))
		}

		out := run(t, measure, args...)
		value := s.PCR11(sections, phases...)
		if want := "11:sha256=" + hex.EncodeToString(value[:]); !strings.Contains(out, want) {
			t.Errorf("PCR11(%v) = %s, systemd-measure says:\n%s", phases, want, out)
		}
	}
}

func signer(t testing.TB) *uki.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s, err := uki.ReadSigner(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSign: the key server takes the signature, and only for that key.
// systemd-measure's own signatures are a vector in kms/server/policy.
func TestSign(t *testing.T) {
	s, _ := readStub(t)
	by := signer(t)
	sig, err := by.Sign(s.PCR11(parts(), uki.InInitrd))
	if err != nil {
		t.Fatal(err)
	}

	signed, err := policy.ReadSigned(sig, by.PublicKey())
	if err != nil || len(signed) != 1 {
		t.Errorf("ReadSigned(our signature) = %v, %v, want one policy", signed, err)
	}
	if _, err := policy.ReadSigned(sig, signer(t).PublicKey()); err == nil {
		t.Error("ReadSigned(our signature, another key) = nil, want an error")
	}
}

// pair makes a Secure Boot key and certificate.
func pair(t *testing.T) (key, certificate []byte) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestSignBoot: sbverify accepts the image with our certificate, and
// neither with another nor with one byte changed.
//
// compatible: Boot | sbverify (Debian 12) | takes our signatures for Secure Boot
func TestSignBoot(t *testing.T) {
	verify := tool(t, "sbverify")
	s, _ := readStub(t)
	image, err := s.Build(parts())
	if err != nil {
		t.Fatal(err)
	}
	key, certificate := pair(t)
	signed, err := uki.SignBoot(image, key, certificate)
	if err != nil {
		t.Fatal(err)
	}

	if got, err := uki.Read(signed); err != nil || len(without(got, ".sbat")) != len(parts()) {
		t.Errorf("Read(signed image) = %d sections, %v", len(got), err)
	}
	run(t, verify, "--cert", write(t, "db.pem", certificate), write(t, "uki.efi", signed))
	der, _ := pem.Decode(certificate)
	again, err := uki.SignBoot(image, key, der.Bytes) // as shim's MOK is
	if err != nil {
		t.Fatal(err)
	}
	run(t, verify, "--cert", write(t, "db.pem", certificate), write(t, "uki.efi", again))

	_, other := pair(t)
	changed := bytes.Clone(signed)
	changed[bytes.Index(changed, []byte("console=ttyS0"))] ^= 1
	for name, args := range map[string][]string{
		"another certificate": {"--cert", write(t, "other.pem", other), write(t, "uki.efi", signed)},
		"another cmdline":     {"--cert", write(t, "db.pem", certificate), write(t, "changed.efi", changed)},
	} {
		if out, err := exec.Command(verify, args...).CombinedOutput(); err == nil {
			t.Errorf("sbverify accepts the image with %s:\n%s", name, out)
		}
	}
}

func TestReadStubRejects(t *testing.T) {
	s, data := readStub(t)
	image, err := s.Build(parts())
	key, certificate := pair(t)
	signed, err2 := uki.SignBoot(data, key, certificate)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name string
		data []byte
		want string
	}{
		{"not PE", []byte("#!/bin/sh\n"), "not a PE file"},
		{"cut in the headers", data[:300], "cut short"},
		{"cut in a section", data[:len(data)/2], "cut short"},
		{"an image already", image, "this is an image, not a stub"},
		{"signed", signed, "it is signed"},
		{"another EFI program", bytes.ReplaceAll(data, []byte(".sdmagic"), []byte(".xxmagic")), "not a systemd-stub"},
	} {
		if _, err := uki.ReadStub(row.data); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: ReadStub = %v, want %q", row.name, err, row.want)
		}
	}
}

func TestBuildRejects(t *testing.T) {
	s, _ := readStub(t)
	for _, row := range []struct {
		name string
		add  uki.Section
		want string
	}{
		{"no dot", uki.Section{Name: "linux2", Data: []byte{1}}, "is no name of a section"},
		{"long name", uki.Section{Name: ".cmdlines", Data: []byte{1}}, "is no name of a section"},
		{"empty", uki.Section{Name: ".dtb"}, "is empty"},
		{"twice", uki.Section{Name: ".osrel", Data: []byte{1}}, "given twice"},
		{"a device tree's source", uki.Section{Name: ".dtb", Data: []byte("/dts-v1/;")}, "no flattened device tree"},
		{"nobody measures it", uki.Section{Name: ".extra", Data: []byte{1}}, "does not measure section .extra"},
	} {
		if _, err := s.Build(append(parts(), row.add)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Build = %v, want %q", row.name, err, row.want)
		}
	}
}

func TestReadSignerRejects(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this Go makes no small RSA keys")
	}
	for _, row := range []struct{ name, text, want string }{
		{"not PEM", "x", "not PEM"},
		{"a certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})), "want a private key"},
		{"small", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})), "2048"},
	} {
		if _, err := uki.ReadSigner([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: ReadSigner = %v, want %q", row.name, err, row.want)
		}
	}
}
