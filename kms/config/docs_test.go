package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// begins is the first line of an example of kms.yaml in a page.
var begins = regexp.MustCompile(`^    (?:# .*kms\.yaml|[a-z0-9]+:( |$))`)

// Every example of kms.yaml in the documentation is read as it stands, and
// every key stands in a table there.
func TestDocumentedConfigs(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	keys := map[string]bool{}
	for f := range reflect.TypeFor[Config]().Fields() {
		if key := keyOf(f); key != "" {
			keys[key] = true
		}
	}

	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range examples(string(text), keys) {
			found++
			c := &Config{where: map[string]string{}}
			if err := decodeYAML(filepath.Base(page), []byte(block), c, c.where); err != nil {
				t.Errorf("%v in the example\n%s", err, block)
			}
		}
	}
	if found < 6 {
		t.Errorf("found %d examples of kms.yaml, want 6 and more: does the test know them?", found)
	}
}

// examples are a page's indented blocks that begin with one of the keys.
func examples(page string, keys map[string]bool) (out []string) {
	for _, block := range regexp.MustCompile(`(?m)^\n((?:    .*\n|\n(?:    ))+)`).FindAllStringSubmatch(page, -1) {
		lines := strings.Split(strings.TrimRight(block[1], "\n"), "\n")
		at := 0
		for at < len(lines)-1 && strings.HasPrefix(strings.TrimSpace(lines[at]), "#") {
			at++
		}
		key, _, ok := strings.Cut(strings.TrimSpace(lines[at]), ":")
		if !ok || !keys[key] || !begins.MatchString(lines[at]) {
			continue
		}
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "    ")
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	return out
}

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
		key := keyOf(f)
		if key != "" && !regexp.MustCompile("(?m)^\\|.* `"+key+"[`.\\[]").Match(text) {
			t.Errorf("no table of docs/*.md has the key %s", key)
		}
	}
}
