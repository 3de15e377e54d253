package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/kms/wrapping"
	"latchkey/unlock/tpm/tpmtest"
)

// command runs one command in this process and returns what it said.
func command(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan []byte)
	go func() { b, _ := io.ReadAll(r); said <- b }()
	code = run(args, devNull(t), w, w)
	w.Close()
	return code, string(<-said)
}

// A wrapped is a KMS whose wrapping key moves about.
type wrapped struct {
	t    *testing.T
	data string
}

func (k *wrapped) ok(args ...string) string {
	k.t.Helper()
	code, out := command(k.t, append(args, "--data", k.data)...)
	if code != 0 {
		k.t.Fatalf("latchkey-kms %s: %d %s", strings.Join(args, " "), code, out)
	}
	return out
}

func (k *wrapped) fails(want string, args ...string) {
	k.t.Helper()
	code, out := command(k.t, append(args, "--data", k.data)...)
	if code == 0 || !strings.Contains(out, want) {
		k.t.Errorf("latchkey-kms %s: %d %s, want a failure with %q", strings.Join(args, " "), code, out, want)
	}
}

func newWrapped(t *testing.T, init ...string) *wrapped {
	k := &wrapped{t, filepath.Join(t.TempDir(), "data")}
	k.ok(append([]string{"init"}, init...)...)
	return k
}

// The key is made anew where it is, goes to a passphrase, to the TPM and
// back to a file; only the last one fits each time.
func TestWrappingChange(t *testing.T) {
	chip := tpmtest.Start(t)
	k := newWrapped(t)
	pin := k.ok("trust")
	file := filepath.Join(k.data, "wrapping.key")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	k.ok("wrapping", "change")
	if second, _ := os.ReadFile(file); bytes.Equal(first, second) || len(second) != 32 {
		t.Error("the key is the same after a change")
	}
	k.ok("store", "check")

	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	k.ok("wrapping", "change", "--to-passphrase", passphrase)
	k.fails("does not fit", "store", "check")
	k.ok("store", "check", "--wrapping-passphrase", passphrase)

	k.ok("wrapping", "change", "--wrapping-passphrase", passphrase, "--to-tpm", chip.Socket, "--pcrs", "7,0")
	k.fails("does not fit", "store", "check", "--wrapping-passphrase", passphrase)
	if got := k.ok("trust", "--wrapping-tpm", chip.Socket); got != pin {
		t.Errorf("trust = %s, want %s as before", got, pin)
	}
	blob, err := os.ReadFile(filepath.Join(k.data, "wrapping.tpm"))
	if err != nil {
		t.Fatal(err)
	}

	k.ok("wrapping", "change", "--wrapping-tpm", chip.Socket) // seals a new one to PCR 7 only
	if again, _ := os.ReadFile(filepath.Join(k.data, "wrapping.tpm")); bytes.Equal(blob, again) {
		t.Error("the blob is the same after a change")
	}
	extend(t, chip, 0)
	k.ok("store", "check", "--wrapping-tpm", chip.Socket)
	extend(t, chip, 7)
	k.fails("did not boot what it had booted", "store", "check", "--wrapping-tpm", chip.Socket)
	chip.Reboot()

	copied := filepath.Join(t.TempDir(), "copy.key")
	k.ok("wrapping", "change", "--wrapping-tpm", chip.Socket, "--to-key", copied, "--keep")
	k.ok("store", "check", "--wrapping-tpm", chip.Socket)
	out := k.ok("audit", "show", "--wrapping-key", copied)
	if n := strings.Count(out, "wrapping change"); n != 5 { // --keep wraps again, with the same key
		t.Errorf("the audit log has %d changes, want 5:\n%s", n, out)
	}

	k.fails("already exists", "wrapping", "change", "--wrapping-tpm", chip.Socket, "--to-key", copied)
	k.fails("mutually exclusive", "store", "check", "--wrapping-tpm", chip.Socket, "--wrapping-key", copied)
	k.fails("PCR 16", "wrapping", "change", "--to-tpm", chip.Socket, "--pcrs", "16")
}

func extend(t *testing.T, chip *tpmtest.Simulator, pcr int) {
	t.Helper()
	bus, err := wrapping.Open(chip.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	_, err = tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}.Execute(bus)
	if err != nil {
		t.Fatal(err)
	}
}

// The power goes before and after the database has the new key: the next
// command opens it either way.
func TestWrappingChangeCut(t *testing.T) {
	k := newWrapped(t)
	file := filepath.Join(k.data, "wrapping.key")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	// Before: the new key is written, and the database has the old one.
	if err := os.WriteFile(file+".new", make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok("store", "check")

	// After: the database has the new one, and the file was not yet replaced.
	k.ok("wrapping", "change")
	if err := os.Rename(file, file+".new"); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok("store", "check")
	if now, _ := os.ReadFile(file); bytes.Equal(now, old) {
		t.Error("the change was not finished")
	}

	if _, err := os.Stat(file + ".new"); err == nil {
		t.Error("the new key still stands beside the old one's place")
	}
}

// A new KMS can have its key in the TPM from the start, and a credential of
// systemd is read though its mode shows an access list.
func TestWrappingAtInit(t *testing.T) {
	chip := tpmtest.Start(t)
	k := newWrapped(t, "--wrapping-tpm", chip.Socket, "--wrapping-pcrs", "7")
	if _, err := os.Stat(filepath.Join(k.data, "wrapping.key")); err == nil {
		t.Error("there is a key file, too")
	}
	k.ok("store", "check", "--wrapping-tpm", chip.Socket)
	k.fails("no such file", "store", "check")

	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if err := os.WriteFile(filepath.Join(credentials, "latchkey-kms.wrapping-key"), bytes.Repeat([]byte{7}, 32), 0o440); err != nil {
		t.Fatal(err)
	}

	c := newWrapped(t)
	c.ok("store", "check")
	c.fails("systemd-creds", "wrapping", "change")
	c.ok("wrapping", "change", "--to-key", filepath.Join(c.data, "moved.key"))
	c.fails("does not fit", "store", "check")
	c.ok("store", "check", "--wrapping-key", filepath.Join(c.data, "moved.key"))
}
