package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A question is answered only if somebody still waits for a volume's
// passphrase.
func TestReadQuestion(t *testing.T) {
	good := fmt.Sprintf("[Ask]\nPID=%d\nSocket=/run/systemd/ask-password/sck.1\nAcceptCached=0\nEcho=0\nNotAfter=0\nMessage=Please enter\nId=cryptsetup:/dev/sda3\n", os.Getpid())
	for _, row := range []struct {
		name, text string
		ok         bool
		device     string
	}{
		{"good", good, true, "/dev/sda3"},
		{"far from its end", strings.Replace(good, "NotAfter=0", "NotAfter=4503599627370495", 1), true, "/dev/sda3"},
		{"expired", strings.Replace(good, "NotAfter=0", "NotAfter=1", 1), false, ""},
		{"its end is no number", strings.Replace(good, "NotAfter=0", "NotAfter=-1", 1), false, ""},
		{"who asked is gone", "[Ask]\nPID=4194305\nSocket=/run/x\nId=cryptsetup:/dev/sda3\n", false, ""},
		{"nobody asked", "[Ask]\nSocket=/run/x\nId=cryptsetup:/dev/sda3\n", false, ""},
		{"all processes", "[Ask]\nPID=0\nSocket=/run/x\nId=cryptsetup:/dev/sda3\n", false, ""},
		{"no socket", strings.Replace(good, "Socket=", "Sock=", 1), false, ""},
		{"another section", strings.Replace(good, "[Ask]", "[Tell]", 1), false, ""},
		{"not about a volume", strings.Replace(good, "cryptsetup:", "luks:", 1), true, ""},
		{"no device", strings.Replace(good, "/dev/sda3", "sda3", 1), true, ""},
		{"a name with a slash in it", strings.Replace(good, "/dev/sda3", `/dev/disk/by-label/a\\x2fb`, 1), true, `/dev/disk/by-label/a\x2fb`},
		{"a broken escape", strings.Replace(good, "/dev/sda3", `/dev/a\`, 1), true, ""},
		{"too long", good + strings.Repeat("#", maxQuestion), false, ""},
		{"empty", "", false, ""},
	} {
		path := filepath.Join(t.TempDir(), "ask.1")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		q, ok := readQuestion(path)
		if device := q.device(); ok != row.ok || ok && device != row.device {
			t.Errorf("%s: readQuestion = %t, %q, want %t, %q", row.name, ok, device, row.ok, row.device)
		}
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "elsewhere"), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "ask.2")); err != nil {
		t.Fatal(err)
	}
	if _, ok := readQuestion(filepath.Join(dir, "ask.2")); ok {
		t.Error("a link is a question")
	}
}

// The name of a connection's address is a volume only in systemd's form.
func TestPeerName(t *testing.T) {
	for addr, want := range map[string]string{
		"@0877605c74412d5c/cryptsetup/root": "root",
		"@1/cryptsetup/luks-5ca1ab1e":       "luks-5ca1ab1e",
		"@1/cryptsetup-pkcs11/root":         "",
		"@1/cryptsetup/":                    "",
		"@1/cryptsetup/a/b":                 "",
		"/run/x/cryptsetup/root":            "",
		"@":                                 "",
		"":                                  "",
	} {
		if got := peerName(addr); got != want {
			t.Errorf("peerName(%q) = %q, want %q", addr, got, want)
		}
	}
}

// FuzzUnescape: whatever a question's Id is, nothing panics.
func FuzzUnescape(f *testing.F) {
	f.Add(`/dev/disk/by-label/a\x2fb"\`)
	f.Fuzz(func(t *testing.T, id string) {
		if d := (question{id: "cryptsetup:" + id}).device(); d != "" && !strings.HasPrefix(d, "/dev/") {
			t.Errorf("device = %q", d)
		}
	})
}
