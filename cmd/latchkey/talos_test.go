package main

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/talos/talostest"
)

// TestTalosOfThisMachine: what volume inspect prints for a volume of Talos is
// what the plan needs, and an image that could not open one is warned of.
func TestTalosOfThisMachine(t *testing.T) {
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	kms, tpm := talostest.TokenKMS("blob"), talostest.TokenTPM("public", strings.Repeat("k", 32), "11")
	for _, row := range []struct {
		name, source, token string
		at                  int
		sealed, digest      string // of the plan
		prints, warns       string // "": nothing
	}{
		{"a KMS", "talos-kms", string(kms), 0, talostest.Name("blob"), "", "sources: [talos-kms: {url: ENDPOINT, sealed: [" + talostest.Name("blob") + "]}]", ""},
		{"the TPM", "talos-tpm2", string(tpm), 0, talostest.Name("public"), "", "sources: [talos-tpm2: {sealed: [" + talostest.Name("public") + "]}]", ""},
		{"the TPM: what it asks for", "talos-tpm2", string(tpm), 0, talostest.Name("public"), "", "PCRs [7] (sha256) as they were, and [11] signed", ""},
		{"not allowed", "talos-kms", string(kms), 0, talostest.Name("other"), "", "", "token 0: the plan does not allow what it has sealed, " + talostest.Name("blob") + "; latchkey volume inspect "},
		{"not allowed, by the TPM", "talos-tpm2", string(tpm), 0, talostest.Name("other"), "", "", "the plan does not allow what it has sealed, " + talostest.Name("public")},
		{"the header is pinned", "talos-kms", string(kms), 0, "", "pinned", "", ""},
		{"for no keyslot", "talos-kms", string(kms), 5, talostest.Name("blob"), "", "", "has no token of type sideroKMS"},
		{"nonsense", "talos-kms", `{"type":"sideroKMS","keyslots":[]}`, 0, "", "pinned", "cannot be used: sealedData is missing", "sealedData is missing"},
		{"of another kind", "talos-tpm2", string(kms), 0, talostest.Name("blob"), "", "", "has no token of type talos-tpm2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			f, h := emptyVolume(t, filepath.Join(dir, uuid), uuid)
			var err error
			if h, _, err = h.SetToken(f, row.at, []byte(row.token)); err != nil {
				t.Fatal(err)
			}
			if row.digest != "" {
				sum := h.SubsetDigest()
				row.digest = hex.EncodeToString(sum[:])
			}
			p := &plan.Plan{Talos: plan.Talos{Sealed: []string{row.sealed}}, Volumes: []plan.Volume{{UUID: uuid, Name: "root", Digest: row.digest, Sources: []string{row.source}}}}
			if got := strings.Join(tokenWarnings(dir, p), "\n"); (got == "") != (row.warns == "") || !strings.Contains(got, row.warns) {
				t.Errorf("warnings = %q, want %q", got, row.warns)
			}
			var out strings.Builder
			if err := report(f.Name(), h, luks2.NewMemory(0)).print(&out); err != nil || !strings.Contains(out.String(), row.prints) {
				t.Errorf("inspect = %v, %s, want %q", err, out.String(), row.prints)
			}
		})
	}
}
