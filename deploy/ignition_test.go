package deploy

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/kms/config"
)

// butaneEnv names Butane's program.
const butaneEnv = "LATCHKEY_BUTANE"

// butane makes an Ignition file; a warning is an error.
func butane(t *testing.T, text []byte) ([]byte, string, error) {
	t.Helper()
	program := os.Getenv(butaneEnv)
	switch {
	case program == "" && os.Getenv("CI") == "true":
		t.Fatalf("needs Butane: %s=$(images/butane)", butaneEnv)
	case program == "":
		t.Skipf("needs Butane: %s=$(images/butane)", butaneEnv)
	}
	cmd := exec.Command(program, "--strict")
	cmd.Stdin = bytes.NewReader(text)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	return out, said.String(), err
}

// TestIgnition: Butane makes an Ignition file of the recipe without a word,
// and the key server takes the configuration in it.
//
// compatible: Release | Butane 0.24 | makes an Ignition file of the recipe
func TestIgnition(t *testing.T) {
	text, err := os.ReadFile("ignition/key-server.bu")
	if err != nil {
		t.Fatal(err)
	}
	out, said, err := butane(t, text)
	if err != nil || said != "" {
		t.Fatalf("%v\n%s", err, said)
	}
	var ignition struct {
		Storage struct {
			Files []struct {
				Path     string
				Contents struct{ Source, Compression string }
			}
		}
	}
	if err := json.Unmarshal(out, &ignition); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range ignition.Storage.Files {
		if f.Path != "/etc/latchkey/kms.yaml" {
			continue
		}
		data, plain := strings.CutPrefix(f.Contents.Source, "data:,")
		content, err := url.PathUnescape(data)
		if err != nil || !plain || f.Contents.Compression != "" {
			t.Fatalf("%s: %v: %q", f.Path, err, f.Contents)
		}
		found = true
		taken(t, content)
	}
	if !found {
		t.Error("no file is kms.yaml")
	}
	if _, said, err := butane(t, bytes.Replace(text, []byte("directories:"), []byte("direktories:"), 1)); err == nil || said == "" {
		t.Error("a misspelled key goes without a word")
	}
}

// taken judges a kms.yaml.
func taken(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kms.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Read(path); err != nil {
		t.Error(err)
	}
}
