package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// A machine with a key server that needs one to start is warned of, whatever
// shows that it has one; another machine is not.
func TestColdStartWarnings(t *testing.T) {
	server, other := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(server, "var/lib/latchkey-kms"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, root string
		sources    []string
		sealed     bool
		warns      bool
	}{
		{"kms alone", server, []string{"kms"}, false, true},
		{"kms and somebody to type", server, []string{"kms", "prompt"}, false, true},
		{"tang", server, []string{"clevis", "kms"}, false, true},
		{"clevis by the TPM", server, []string{"clevis", "kms"}, true, false},
		{"the TPM first", server, []string{"systemd-tpm2", "kms"}, false, false},
		{"a key file last", server, []string{"kms", "key-file"}, false, false},
		{"no key server here", other, []string{"kms"}, false, false},
	} {
		p := &plan.Plan{Volumes: []plan.Volume{{Name: "root", Sources: tt.sources}}, KeyFiles: []plan.KeyFile{{Name: "key-file", Path: "x"}}}
		if tt.sealed {
			p.Clevis.Sealed = []string{"x"}
		}
		list := coldStartWarnings(tt.root, p)
		if (len(list) == 1) != tt.warns || tt.warns && !strings.Contains(list[0], "volume root opens by "+strings.Join(tt.sources, ", ")+" only") {
			t.Errorf("%s: coldStartWarnings = %q, want a warning: %t", tt.name, list, tt.warns)
		}
	}
	for _, sign := range keyServerSigns {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, sign), 0o700); err != nil {
			t.Fatal(err)
		}
		if list := coldStartWarnings(dir, &plan.Plan{Volumes: []plan.Volume{{Name: "root", Sources: []string{"kms"}}}}); len(list) != 1 {
			t.Errorf("with %s: %q, want one warning", sign, list)
		}
	}
}
