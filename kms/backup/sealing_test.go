package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"latchkey/kms/backup"
)

// Of each kind of recipient: its identity opens the backup, another does not,
// and without one the way on is named.
func TestSealed(t *testing.T) {
	classic, other, hybrid := identity(age.GenerateX25519Identity()), identity(age.GenerateX25519Identity()), identity(age.GenerateHybridIdentity())
	sshPublic, sshPrivate := sshKey(t)
	for name, one := range map[string]struct{ recipient, identity string }{
		"X25519": {classic.Recipient().String(), classic.String()},
		"hybrid": {hybrid.Recipient().String(), hybrid.String()},
		"SSH":    {sshPublic, sshPrivate},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := backup.ParseRecipient(one.recipient)
			if err != nil {
				t.Fatal(err)
			}
			dir := backup.Dir(t.TempDir())
			m := maker(t, dir)
			m.To = []age.Recipient{to}
			made, err := m.Make(t.Context())
			if err != nil || !strings.HasSuffix(made.Name, ".db.age") {
				t.Fatalf("Make = %+v, %v", made, err)
			}
			s, away, err := backup.FindNewest(t.Context(), []backup.Place{dir})
			if err != nil || away != nil {
				t.Fatal(err, away)
			}
			s.Identities = read(t, one.identity)
			if !bytes.Equal(fetched(t, s), database) {
				t.Error("the identity opens something else")
			}
			for want, ids := range map[string][]age.Identity{"--identity": nil, "other recipients": {other}} {
				s.Identities = ids
				if err := s.Fetch(t.Context(), filepath.Join(t.TempDir(), "x")); !errors.Is(err, backup.ErrIdentity) || !strings.Contains(err.Error(), want) {
					t.Errorf("opened by another: %v, want %q", err, want)
				}
			}
		})
	}
}

func identity[T any](id T, err error) T {
	if err != nil {
		panic(err)
	}
	return id
}

func read(t *testing.T, text string) []age.Identity {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ids, err := backup.ReadIdentities(path)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func sshKey(t *testing.T) (public, private string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(line)), string(pem.EncodeToMemory(block))
}

func TestRecipientsThatAreNone(t *testing.T) {
	classic, hybrid := identity(age.GenerateX25519Identity()), identity(age.GenerateHybridIdentity())
	for text, want := range map[string]string{
		classic.String():        "this is an identity",
		"age1nobody":            "no recipient of age",
		"ssh-dss AAAAB3NzaC1":   "no SSH key that age encrypts to",
		"":                      "no recipient of age",
		"correct horse battery": "no recipient of age",
	} {
		if _, err := backup.ParseRecipient(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), classic.String()) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if err := backup.CheckRecipients([]age.Recipient{hybrid.Recipient(), classic.Recipient()}); err == nil || !strings.Contains(err.Error(), "cannot share a file") {
		t.Errorf("recipients that age does not mix: %v", err)
	}
}
