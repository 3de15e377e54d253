package main

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need skips a test without a program, and fails it in CI.
func need(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs the program %s", name)
	}
}

// in runs a program in a folder.
func in(t *testing.T, dir, stdin, name string, args ...string) (string, error) {
	t.Helper()
	need(t, name)
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, dir, stdin, name string, args ...string) {
	t.Helper()
	if out, err := in(t, dir, stdin, name, args...); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// signers are who makes a key, and who judges what it signed: $1 is the file.
var signers = []struct{ name, make, verify string }{
	{"minisign", "minisign -G -W -p key.pub -s key >/dev/null", `minisign -V -p key.pub -m "$1" | grep "^Trusted comment: file:$1$"`},
	{"openssl, PKCS #8", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key && openssl pkey -in key -pubout -out key.pub", bySum},
	{"openssl, SEC 1", "openssl ecparam -name prime256v1 -genkey -noout -out key && openssl pkey -in key -pubout -out key.pub", bySum},
}

const bySum = `base64 -d "$1.sig" >der && openssl dgst -sha256 -verify key.pub -signature der "$1"`

// TestSign: others verify what we sign, and refuse it when one byte of the
// file changes.
//
// compatible: Release | minisign (Debian 12) | verifies what make release signs
// compatible: Release | openssl (Debian 12) | verifies what make release signs, as cosign verify-blob does
func TestSign(t *testing.T) {
	for _, s := range signers {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "SHA256SUMS")
			need(t, strings.Fields(s.make)[0])
			must(t, dir, "", "sh", "-euc", s.make)
			for _, text := range []string{"0123  a file\n", "", strings.Repeat("x", 100_000)} {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := run(t.Context(), []string{"sign", filepath.Join(dir, "key"), file}, nil); err != nil {
					t.Fatal(err)
				}
				must(t, dir, "", "sh", "-euc", s.verify, "sh", "SHA256SUMS")

				if err := os.WriteFile(file, []byte(text+"y"), 0o644); err != nil {
					t.Fatal(err)
				}
				if out, err := in(t, dir, "", "sh", "-euc", s.verify, "sh", "SHA256SUMS"); err == nil {
					t.Errorf("a changed file of %d bytes was verified: %s", len(text), out)
				}
			}
		})
	}
}

// TestSignRefuses: a key that cannot sign is named, with what to do.
func TestSignRefuses(t *testing.T) {
	encrypted := make([]byte, 158)
	copy(encrypted, "EdScB2")
	for _, row := range []struct{ name, key, want string }{
		{"text", "hello\n", "neither a secret key of minisign nor a P-256 key in PEM"},
		{"a password", "untrusted comment: x\n" + base64.StdEncoding.EncodeToString(encrypted) + "\n", "RELEASE_KEY_PASSWORD_FILE"},
		{"half a key", "untrusted comment: x\nAAAA\n", "invalid private key"},
		{"cosign's own", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "PRIVATE KEY without a password"},
		{"damaged", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "signing with"},
	} {
		dir := t.TempDir()
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, []byte(row.key), 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), []string{"sign", key, key}, nil)
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), key) {
			t.Errorf("signing with %s = %v, want %q and the file", row.name, err, row.want)
		}
	}

	dir := t.TempDir()
	must(t, dir, "", "openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "key")
	if err := run(t.Context(), []string{"sign", filepath.Join(dir, "key"), filepath.Join(dir, "key")}, nil); err == nil || !strings.Contains(err.Error(), "no P-256 key") {
		t.Errorf("signing with P-384 = %v", err)
	}
}

// TestPassword: minisign's default key, whose derivation takes 1 GiB.
func TestPassword(t *testing.T) {
	if os.Getenv("LATCHKEY_LONG") != "1" {
		t.Skip("long: make test-long runs it")
	}
	dir := t.TempDir()
	must(t, dir, "secret\nsecret\n", "minisign", "-G", "-p", "key.pub", "-s", "key")
	for name, text := range map[string]string{"password": "secret\n", "file": "text"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sign(filepath.Join(dir, "key"), filepath.Join(dir, "password"), filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	must(t, dir, "", "minisign", "-V", "-p", "key.pub", "-m", "file")
	if err := sign(filepath.Join(dir, "key"), filepath.Join(dir, "file"), filepath.Join(dir, "file")); err == nil {
		t.Error("a wrong password signed")
	}
}
