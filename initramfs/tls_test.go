package initramfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/tlsclient/tlstest"
)

// overTLS is a configuration whose tang servers are known so.
func overTLS(known string) string {
	return withSources("clevis: {tang: [" + strings.Repeat("A", 43) + "], " + known + "}")
}

// TestCertificates: files and text, and what is no certificate is named with
// its place.
func TestCertificates(t *testing.T) {
	a, b := tlstest.New(tlstest.Years(2000, 2100)).PEM(), tlstest.New(tlstest.Years(2000, 2100)).PEM()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"two.pem": "subject=root\n" + a + "and another\n" + b, "empty.pem": "", "key.pem": a + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"broken.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a.pem": a,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := "|\n            " + strings.ReplaceAll(strings.TrimSpace(a), "\n", "\n            ") + "\n"
	const at = "latchkey.yaml:3: volumes[0].sources[0].clevis.ca[0]: "
	for _, row := range []struct {
		known string
		want  []string
		err   string // "" is none
	}{
		{"ca: two.pem", []string{a + b}, ""},
		{"ca: [two.pem, a.pem]", []string{a + b, a}, ""},
		{"ca: none.pem", nil, at + "open "},
		{"ca: /dev/zero", nil, at + "reading /dev/zero: it is a device"},
		{"ca: empty.pem", nil, at + "it has no certificate in PEM"},
		{"ca: broken.pem", nil, at + "reading a certificate"},
		{"ca: key.pem", nil, at + `there is a "PRIVATE KEY" beside certificates`},
		{"pin: sha256//x", nil, "latchkey.yaml:3: clevis: pin: \"sha256//x\" is not sha256//"},
	} {
		known := strings.NewReplacer("two.pem", dir+"/two.pem", "none.pem", dir+"/none.pem", "empty.pem", dir+"/empty.pem", "broken.pem", dir+"/broken.pem", "key.pem", dir+"/key.pem", "a.pem", dir+"/a.pem").Replace(row.known)
		got, err := certificates(overTLS(known))
		if fmt.Sprint(got) != fmt.Sprint(row.want) || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, %v, want %q, %q", row.known, got, err, row.want, row.err)
		}
	}

	long := "volumes:\n  - uuid: 11111111-2222-3333-4444-555555555555\n    sources:\n      - clevis:\n          tang: " + strings.Repeat("A", 43) + "\n          ca: " + text
	if got, err := certificates(long); err != nil || len(got) != 1 || got[0] != a {
		t.Errorf("PEM in the file: %q, %v", got, err)
	}
}

func certificates(text string) ([]string, error) {
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	p, err := c.Plan()
	if err != nil {
		return nil, err
	}
	return p.Clevis.TLS.CA, nil
}

// TestInitForTLS: an init without TLS is refused for a plan that needs it,
// and only then.
func TestInitForTLS(t *testing.T) {
	main := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pin := "pin: sha256//" + strings.Repeat("A", 43) + "="
	for tags, has := range map[string]bool{"": false, "tls": true, "a,tls": true, "notls": false} {
		tr := newTree(t)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-tags", tags, "-o", filepath.Join(tr.dir, "init"), main)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		init, err := os.ReadFile(filepath.Join(tr.dir, "init"))
		if err != nil || initramfs.HasTLS(init) != has {
			t.Errorf("tags %q: HasTLS = %t, %v", tags, !has, err)
		}
		if _, _, err := tr.build(overTLS(pin)); (err == nil) != has || err != nil && !strings.Contains(err.Error(), "/init has no TLS: leave --init out, or give it the latchkey-init-tls of make build") {
			t.Errorf("tags %q: %v", tags, err)
		}
		if _, _, err := tr.build(config); err != nil {
			t.Errorf("tags %q, for a plan that needs no TLS: %v", tags, err)
		}
	}
	if initramfs.HasTLS(elf("", false)) {
		t.Error("a program that is not Go's has TLS")
	}
}
