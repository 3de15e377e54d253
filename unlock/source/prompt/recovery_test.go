package prompt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

func TestRecoveryKey(t *testing.T) {
	const key = "crggbfvh-viijvgnb-thjgtgcf-nuculdrc-bhuhdvfr-nlucnkfd-vcbfnveu-dlehkjgl"
	for _, row := range []struct{ name, typed, want string }{ // "" is none
		{"as it is written: nothing to add", key, ""},
		{"without dashes", strings.ReplaceAll(key, "-", ""), key},
		{"in capitals", strings.ToUpper(key), key},
		{"in capitals without dashes", strings.ToUpper(strings.ReplaceAll(key, "-", "")), key},
		{"a letter that modhex lacks", "a" + key[1:], ""},
		{"a dash elsewhere", strings.ReplaceAll("cr-"+strings.ReplaceAll(key[2:], "-", ""), "x", ""), ""},
		{"a blank for a dash", strings.Replace(key, "-", " ", 1), ""},
		{"dashes alone", strings.Repeat("-", 64), ""},
		{"a letter too few", strings.ReplaceAll(key, "-", "")[1:], ""},
		{"a passphrase", "correct horse battery staple", ""},
		{"nothing", "", ""},
	} {
		got, ok := recoveryKey(secret.Own([]byte(row.typed)))
		if string(got.Reveal()) != row.want || ok != (row.want != "") {
			t.Errorf("%s: recoveryKey(%q) = %q, %t, want %q", row.name, row.typed, got.Reveal(), ok, row.want)
		}
	}
}

// TestRecoveryKeyOfSystemd has systemd-cryptenroll make the key, which is
// then typed in every way that systemd takes.
func TestRecoveryKeyOfSystemd(t *testing.T) {
	for _, tool := range []string{"cryptsetup", "systemd-cryptenroll"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool + ": run images/deps")
		}
	}
	dir := t.TempDir()
	image, old := filepath.Join(dir, "image"), filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", old, image)
	key := run(t, "systemd-cryptenroll", "--recovery-key", image)

	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := luks2.Read(f, 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{key, strings.ToUpper(key), strings.ReplaceAll(key, "-", "")} {
		opened := false
		for _, c := range candidates(secret.Own([]byte(typed))) {
			volume, _, err := h.Unlock(t.Context(), f, luks2.Attempt{Passphrase: c.Passphrase, Slot: luks2.AnySlot})
			volume.Wipe()
			opened = opened || err == nil
		}
		if !opened {
			t.Errorf("the recovery key typed as %q opens nothing", typed)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PASSWORD=old")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}
