package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// A volume of this machine says which modules its image needs, and whether
// the plan would have it refused.
func TestCiphersOfThisMachine(t *testing.T) {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup")
	}
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	for _, row := range []struct {
		name, accept string
		format       []string
		want         []string // the ciphers
		warns        bool
	}{
		{"AES in XTS mode", "", nil, []string{"aes-xts-plain64"}, false},
		{"essiv", "", []string{"--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}, []string{"aes-cbc-essiv:sha256"}, true},
		{"essiv, accepted", plan.AcceptCryptsetup, []string{"--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}, []string{"aes-cbc-essiv:sha256"}, false},
		{"LUKS1 by SHA-1", "", []string{"--type", "luks1", "--hash", "sha1"}, []string{"aes-xts-plain64"}, true},
		{"keyslots by essiv", "", []string{"--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256"}, []string{"aes-xts-plain64", "aes-cbc-essiv:sha256"}, true},
		{"none", "", []string{"absent"}, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, uuid)
			if row.want != nil {
				if err := os.WriteFile(path, make([]byte, 20<<20), 0o600); err != nil {
					t.Fatal(err)
				}
				args := append([]string{"luksFormat", "-q", "--uuid", uuid, "--key-file", "-", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path}, row.format...)
				c := exec.Command("cryptsetup", args...)
				c.Stdin = strings.NewReader("a passphrase")
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("cryptsetup %q: %v: %s", args, err, out)
				}
			}
			if got := hostCiphers(dir, uuid); !slices.Equal(got, row.want) {
				t.Errorf("hostCiphers = %q, want %q", got, row.want)
			}
			got := cipherWarnings(dir, &plan.Plan{Volumes: []plan.Volume{{UUID: uuid, Name: "root", Accept: row.accept}}})
			if len(got) > 0 != row.warns || row.warns && !strings.Contains(got[0], "accept: cryptsetup") {
				t.Errorf("cipherWarnings = %q, want some: %v", got, row.warns)
			}
		})
	}
}
