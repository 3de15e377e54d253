package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
)

// TestSystemdOfThisMachine: an image that could not open a volume of this
// machine by its TPM is warned of.
func TestSystemdOfThisMachine(t *testing.T) {
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	good := fmt.Sprintf(`{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":%q}`, base64.StdEncoding.EncodeToString([]byte("\x00\x01p\x00\x01q")))
	sealed := cryptenroll.Describe([]byte(good)).Sealed
	withPIN := strings.TrimSuffix(good, "}") + `,"tpm2-pin":true}`
	for _, row := range []struct {
		name   string
		tokens []string
		allow  []string
		digest string
		warns  string // "": nothing
	}{
		{"allowed", []string{good}, []string{sealed}, "", ""},
		{"not allowed", []string{good}, []string{strings.Repeat("0", 64)}, "", "token 0: the plan does not allow its sealed secret " + sealed + "; latchkey volume inspect "},
		{"the header is pinned", []string{good}, nil, "00", ""},
		{"one of two", []string{withPIN, good}, []string{sealed}, "", ""},
		{"a PIN", []string{withPIN}, []string{sealed}, "", "token 0: it wants a PIN"},
		{"none", nil, []string{sealed}, "", "has no token of type systemd-tpm2"},
	} {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, uuid))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(20 << 20); err != nil {
			t.Fatal(err)
		}
		h, volume, err := luks2.Format(f, luks2.NewVolume{UUID: uuid, SizeBytes: 20 << 20}, luks2.NewKey{Passphrase: secret.Random(32), Random: true})
		if err != nil {
			t.Fatal(err)
		}
		volume.Wipe()
		for _, token := range row.tokens {
			if h, _, err = h.SetToken(f, luks2.AnyToken, []byte(token)); err != nil {
				t.Fatal(err)
			}
		}

		p := &plan.Plan{Systemd: plan.SystemdTPM2{Sealed: row.allow}, Volumes: []plan.Volume{{UUID: uuid, Name: "root", Digest: row.digest, Sources: []string{"systemd-tpm2"}}, {UUID: "not here", Sources: []string{"systemd-tpm2"}}}}
		got := strings.Join(tokenWarnings(dir, p), "\n")
		if (got == "") != (row.warns == "") || !strings.Contains(got, row.warns) {
			t.Errorf("%s: warnings = %q, want %q", row.name, got, row.warns)
		}
		p.Volumes[0].Sources = []string{"kms"}
		if got := tokenWarnings(dir, p); got != nil {
			t.Errorf("%s: warnings of a plan without the source = %q", row.name, got)
		}
	}
}
