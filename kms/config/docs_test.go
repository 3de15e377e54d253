package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"latchkey/internal/docexample"
	"latchkey/internal/strictyaml"
)

// TestDocs: every kms.yaml in README and docs is read as it stands.
func TestDocs(t *testing.T) {
	for _, b := range docexample.Blocks(t, "yaml kms.yaml") {
		path := filepath.Join(t.TempDir(), "kms.yaml")
		if err := os.WriteFile(path, []byte(b.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// TestEveryKeyIsDocumented: every key stands in a table there.
func TestEveryKeyIsDocumented(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	for f := range reflect.TypeFor[Config]().Fields() {
		key := strictyaml.KeyOf(f)
		if key != "" && !regexp.MustCompile("(?m)^\\|.* `"+key+"[`.\\[]").Match(text) {
			t.Errorf("no table of docs/*.md has the key %s", key)
		}
	}
}
