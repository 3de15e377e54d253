package together_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/together"
)

// cryptsetup runs the real one, which fails or not as is wanted.
func cryptsetup(t *testing.T, good bool, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs cryptsetup: run images/deps")
		}
		t.Skip("cryptsetup, the oracle, is not installed")
	}
	out, err := exec.Command("cryptsetup", args...).CombinedOutput()
	if (err == nil) != good {
		t.Fatalf("cryptsetup %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestCryptsetupKeepsTokens: the keyslot opens there by the passphrase that
// the parts make and by none of them; the token opens nothing there, and stays
// while keyslots come and go.
//
// compatible: Disks | cryptsetup (Debian 12) | keeps the keyslots that several sources open together, and opens them by no token
func TestCryptsetupKeepsTokens(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, path := file("old", bytes.Repeat([]byte{1}, 32)), file("vol", nil)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 20 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	h, volume, err := luks2.Format(f, luks2.NewVolume{SizeBytes: size, OffsetBytes: 16 << 20}, luks2.NewKey{Passphrase: secret.Own(bytes.Repeat([]byte{1}, 32)), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	token := together.Token{Members: []string{together.KeyFile, together.KMS}, Salt: bytes.Repeat([]byte{3}, 32)}
	parts := map[string]secret.Bytes{together.KeyFile: secret.Own([]byte("a stick")), together.KMS: secret.Own([]byte("a key server"))}
	passphrase, err := token.Passphrase(h.UUID(), parts)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = h.AddKey(f, volume, luks2.NewKey{Passphrase: passphrase, Slot: 1, Random: true, Token: func(slot int) json.RawMessage {
		token.Slot = slot
		return token.JSON()
	}})
	if err != nil {
		t.Fatal(err)
	}

	cryptsetup(t, true, "open", "--test-passphrase", "--key-slot", "1", "--key-file", file("made", passphrase.Reveal()), path)
	for name, part := range parts {
		cryptsetup(t, false, "open", "--test-passphrase", "--key-file", file(name, part.Reveal()), path)
	}
	cryptsetup(t, false, "open", "--test-passphrase", "--token-only", path)
	cryptsetup(t, true, "luksAddKey", "--pbkdf", "pbkdf2", "--key-file", old, path, file("new", []byte("another")))
	cryptsetup(t, true, "luksKillSlot", "--key-file", old, path, "2")
	if dump := cryptsetup(t, true, "luksDump", path); !strings.Contains(dump, "0: latchkey-together") {
		t.Errorf("the token is gone:\n%s", dump)
	}
	after, err := luks2.Read(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := together.Parse(after.Tokens()[0]); err != nil || again.Slot != 1 {
		t.Errorf("Parse = %+v, %v", again, err)
	}
}
