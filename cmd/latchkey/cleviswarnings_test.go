package main

import (
	"bytes"
	"crypto/elliptic"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis/clevistest"
)

// TestClevisOfThisMachine: what volume inspect prints for a volume that
// clevis bound is what the plan needs, and an image that could not open a
// volume of this machine is warned of.
func TestClevisOfThisMachine(t *testing.T) {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup")
	}
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	tang := clevistest.New(elliptic.P256())
	sealed := clevistest.Sealed{Hash: "sha256", Key: "ecc", Public: clevistest.TPM2B("public")}
	toTang := func(url string) func([]byte) string {
		return func(content []byte) string { return tang.Seal(url, content) }
	}
	toTPM := func(content []byte) string { message, _ := sealed.Seal(content); return message }
	both := "clevis: {tang: [" + tang.Thumbprint() + "], sealed: [" + sealed.Digest() + "]}"
	for _, row := range []struct {
		name   string
		token  string // "": none
		allow  plan.Clevis
		prints string // by volume inspect
		warns  string // "": nothing
	}{
		{"allowed", toTang("http://tang.local")([]byte("key")), plan.Clevis{Tang: []string{tang.Thumbprint()}}, "sources: [clevis: {tang: [" + tang.Thumbprint() + "]}]", ""},
		{"both, and one is not allowed", clevistest.Share(2, []byte("key"), toTang("http://tang.local"), toTPM), plan.Clevis{Tang: []string{tang.Thumbprint()}}, "sources: [" + both + "]", "token 0: share 1: the plan does not allow its sealed secret " + sealed.Digest() + "; latchkey volume inspect "},
		{"either, and one is not allowed", clevistest.Share(1, []byte("key"), toTang("http://tang.local"), toTPM), plan.Clevis{Tang: []string{tang.Thumbprint()}}, "sources: [" + both + "]", ""},
		{"TLS", toTang("https://tang.example")([]byte("key")), plan.Clevis{Tang: []string{tang.Thumbprint()}}, "sources: [clevis: {tang: [" + tang.Thumbprint() + "], ca: FILE}]", "the plan does not say how to know a server over TLS"},
		{"TLS, and its CA", toTang("https://tang.example")([]byte("key")), plan.Clevis{Tang: []string{tang.Thumbprint()}, TLS: plan.TLS{CA: []string{"a"}}}, "ca: FILE", ""},
		{"a smart card", clevistest.Message(`{"alg":"dir","enc":"A256GCM","clevis":{"pin":"pkcs11"}}`, make([]byte, 32), []byte("key")), plan.Clevis{}, `not used by latchkey: its pin is "pkcs11", want tang, tpm2 or sss`, `its pin is "pkcs11"`},
		{"none", "", plan.Clevis{}, "uuid", "has no token of clevis"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, uuid)
			volumeWithToken(t, path, uuid, row.token)
			p := &plan.Plan{Clevis: row.allow, Volumes: []plan.Volume{{UUID: uuid, Name: "root", Sources: []string{"clevis"}}, {UUID: "not here", Sources: []string{"clevis"}}}}
			got := strings.Join(tokenWarnings(dir, p), "\n")
			if (got == "") != (row.warns == "") || !strings.Contains(got, row.warns) {
				t.Errorf("warnings = %q, want %q", got, row.warns)
			}
			p.Volumes[0].Sources = []string{"kms"}
			if got := tokenWarnings(dir, p); got != nil {
				t.Errorf("warnings of a plan without clevis = %q", got)
			}

			var out bytes.Buffer
			c := volumeInspectCommand()
			c.SetOut(&out)
			c.SetArgs([]string{path})
			if err := c.Execute(); err != nil || !strings.Contains(out.String(), row.prints) {
				t.Errorf("volume inspect: %v, it lacks %q:\n%s", err, row.prints, out.String())
			}
		})
	}
}

// volumeWithToken makes a LUKS2 volume with a token of clevis.
func volumeWithToken(t *testing.T, path, uuid, message string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 32<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--uuid", uuid, "--key-file", "-", path)
	cmd.Stdin = strings.NewReader("old")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cryptsetup: %v\n%s", err, out)
	}
	if message == "" {
		return
	}
	f, h, err := changeVolume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := h.SetToken(f, luks2.AnyToken, json.RawMessage(clevistest.Token(message, 0))); err != nil {
		t.Fatal(err)
	}
}
