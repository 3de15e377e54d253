package cryptenroll_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/pcr"
	"latchkey/internal/secret"
	"latchkey/internal/testlan"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// inRoot runs the command from $3 on in the Debian in $1, with the test's
// folder $2 as its /tmp.
const inRoot = `mount --bind "$2" "$1/tmp"; mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
root=$1; shift 2; exec chroot "$root" "$@"`

// image is an Opener of one volume in an image file.
type image struct {
	*os.File
	v    unlock.Volume
	open bool
}

func (i *image) Closed() []*unlock.Volume   { return []*unlock.Volume{&i.v} }
func (i *image) Needed(*unlock.Volume) bool { return !i.open }

func (i *image) Try(ctx context.Context, o source.Offer) (errs []error) {
	for _, k := range o.Keys {
		err := k.Err
		var all []unlock.Candidate
		if err == nil {
			all, err = k.Passphrases(ctx)
		}
		for _, c := range all {
			var key luks2.VolumeKey
			key, _, err = i.v.Header.Unlock(ctx, i, luks2.Attempt{Passphrase: c.Passphrase, Slot: c.Slots[0]})
			key.Wipe()
			i.open = err == nil
		}
		errs = append(errs, err)
	}
	return errs
}

// signatures are those of a key for PCR 11 as it is after some words.
func signatures(t *testing.T, key *rsa.PrivateKey, words ...string) []byte {
	t.Helper()
	policy := pcr.Policy11(pcr.Phases(words...))
	digest, fingerprint := sha256.Sum256(policy[:]), sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"sha1":[],"sha256":[{"pcrs":[11],"pkfp":"00","pol":"00","sig":"AAAA"},{"pcrs":[11],"pkfp":%q,"pol":%q,"sig":%q}]}`,
		hex.EncodeToString(fingerprint[:]), hex.EncodeToString(policy[:]), base64.StdEncoding.EncodeToString(sig))
}

// signingKey is a key that signs PCRs, and its public part in PEM.
func signingKey(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestCryptenroll opens what the real systemd-cryptenroll bound, of the host
// (252 on Debian 12) and of the newer Debian (257), and says why when a boot
// differs.
//
// compatible: TPM | systemd-cryptenroll (Debian 12 and 13) | volumes that it bound to the TPM open here: PCRs, signed PCR 11, PIN, ECC and RSA
func TestCryptenroll(t *testing.T) {
	root := testlan.DebianRoot(t)
	key, public := signingKey(t)
	good := signatures(t, key, pcr.EnterInitrd)

	for _, row := range []struct {
		name  string
		args  []string
		spoil int    // the PCR that is extended then
		code  string // of what follows, or from the start
		says  string
		never bool
	}{
		{"PCR 7", []string{"--tpm2-pcrs=7"}, 7, tpm.CodeSealPolicy, "token 0: unsealing a secret: PCR 7 (sha256) has other values", false},
		{"no PCR", []string{"--tpm2-pcrs="}, 0, "", "", false},
		{"PCR 11 signed", []string{"--tpm2-pcrs=", "--tpm2-public-key=/tmp/key.pem", "--tpm2-public-key-pcrs=11"}, 11, tpm.CodeSealPolicy, "none of 2 signatures of the bank sha256", false},
		{"PCR 11 signed, and 7", []string{"--tpm2-pcrs=7", "--tpm2-public-key=/tmp/key.pem", "--tpm2-public-key-pcrs=11"}, 7, tpm.CodeSealPolicy, "PCR 7 (sha256) has other values", false},
		{"a PIN", []string{"--tpm2-pcrs=7", "--tpm2-with-pin=yes"}, 0, cryptenroll.CodeToken, "it wants a PIN, and nobody may be asked for it", true},
	} {
		for _, newer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, newer %t", row.name, newer), func(t *testing.T) {
				sim := tpmtest.Start(t)
				dir := filepath.Dir(sim.Socket)
				dev, err := tpm.Open(sim.Socket)
				if err != nil {
					t.Fatal(err)
				}
				defer dev.Close()
				extend := func(n int, word string) {
					d := pcr.Measure([]byte(word))
					if err := dev.Extend(t.Context(), n, d.Of); err != nil {
						t.Fatal(err)
					}
				}
				extend(11, pcr.EnterInitrd)
				i := enroll(t, root, dir, newer, public, row.args)

				sealed := cryptenroll.Describe(i.v.Header.Tokens()[0].JSON).Sealed
				s := &cryptenroll.TPM2{
					Allowed:    []string{strings.Repeat("0", 64), sealed},
					TPM:        func(context.Context) (cryptenroll.Unsealer, error) { return dev, nil },
					Signatures: func() ([]byte, error) { return good, nil }, Log: slog.New(slog.DiscardHandler),
				}
				err = s.Run(t.Context(), i)
				if row.never {
					if i.open || codes.Of(err) != row.code || !strings.Contains(err.Error(), row.says) {
						t.Errorf("Run = %v, want %s that says %q", err, row.code, row.says)
					}
					withPIN(t, s, i)
					return
				}
				if err != nil || !i.open {
					t.Fatalf("open: %t, %v", i.open, err)
				}

				i.open, s.Allowed = false, s.Allowed[:1]
				if err := s.Run(t.Context(), i); i.open || codes.Of(err) != cryptenroll.CodeToken || !strings.Contains(err.Error(), "does not allow its sealed secret "+sealed) {
					t.Errorf("open: %t, %v by a secret that is not allowed", i.open, err)
				}
				i.v.Digest = bytes.Repeat([]byte{7}, 32) // who opens judges it
				if row.code == "" {
					return
				}
				extend(row.spoil, "something else")
				if err := s.Run(t.Context(), i); i.open || codes.Of(err) != row.code || !strings.Contains(err.Error(), row.says) {
					t.Errorf("open: %t, %v, want %s that says %q", i.open, err, row.code, row.says)
				}
			})
		}
	}
}

// withPIN opens a volume by its PIN, which is typed wrongly once, and then not
// by wrong ones: this TPM takes three in all, and says so.
func withPIN(t *testing.T, s *cryptenroll.TPM2, i *image) {
	t.Helper()
	var asked []cryptenroll.Question
	lines := []string{"4321", "1234"}
	s.Ask = func(_ context.Context, q cryptenroll.Question) (secret.Bytes, error) {
		asked = append(asked, q)
		return secret.Own([]byte(lines[(len(asked)-1)%len(lines)])), nil
	}
	err := s.Run(t.Context(), i)
	if want := fmt.Sprint([]cryptenroll.Question{{Volume: "root", Left: 3}, {Volume: "root", Left: 2, Wrong: true}}); err != nil || !i.open || fmt.Sprint(asked) != want {
		t.Errorf("open: %t, %v, asked %v, want %s", i.open, err, asked, want)
	}
	i.open, asked, lines = false, nil, []string{"4321"}
	if err := s.Run(t.Context(), i); i.open || codes.Of(err) != tpm.CodeLockout || len(asked) != 3 {
		t.Errorf("wrong PINs: open: %t, %v, asked %d times", i.open, err, len(asked))
	}
}

// enroll makes a volume in dir, and has systemd bind it.
func enroll(t *testing.T, root, dir string, newer bool, public []byte, args []string) *image {
	t.Helper()
	path := filepath.Join(dir, "a.img")
	err := errors.Join(os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600), os.WriteFile(filepath.Join(dir, "key.pem"), public, 0o644), os.WriteFile(path, nil, 0o600), os.Truncate(path, 32<<20))
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "PASSWORD=old", "NEWPIN=1234")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, args, err, out)
		}
	}
	run("cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", filepath.Join(dir, "old"), path)
	socket := "swtpm:path=/tmp/tpm.sock"
	command := []string{"systemd-cryptenroll", "--tpm2-device=" + socket}
	command = append(append(command, args...), "/tmp/a.img")
	if newer {
		run("unshare", append([]string{"--mount", "sh", "-ec", inRoot, "sh", root, dir}, command...)...)
	} else {
		here := `mount --bind "$1" /tmp; shift; exec "$@"`
		run("unshare", append([]string{"--mount", "sh", "-ec", here, "sh", dir}, command...)...)
	}

	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	h, err := luks2.Read(f, 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	return &image{File: f, v: unlock.Volume{Name: "root", Header: h}}
}
