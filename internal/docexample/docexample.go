// Package docexample finds the examples in README.md and docs, so that the
// packages that they are about can test them: commands against the real
// command trees, YAML with the real parsers. Only tests use it.
package docexample

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Block is a fenced block: its info string says what it is, such as "sh"
// or "yaml kms.yaml".
type Block struct {
	Page string // "docs/kms.md"
	Line int    // of its first line
	Kind string
	Text string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// Kinds are the info strings that blocks may have, and what tests them.
var Kinds = map[string]string{
	"sh":                      "commands: Commands",
	"console":                 "commands after \"$ \" or \"# \", and what they print: Commands",
	"yaml kms.yaml":           "kms/config",
	"yaml latchkey.yaml":      "initramfs",
	"yaml latchkey.yaml part": "initramfs, with the rest of a file",
	"yaml kairos":             "kms/server/kairos",
	"yaml cloud-config":       "internal/cloudconfig",
	"yaml other":              "somebody else's format: well-formed",
	"json":                    "well-formed",
	"text":                    "a picture, or what a program prints",
	"txtar":                   "a test script: docs/testing.md",
}

// Pages are README.md and the pages in docs, by path.
func Pages(t testing.TB) map[string]string {
	t.Helper()
	top := top(t)
	pages := map[string]string{}
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "images/kubernetes/README.md"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("looking for pages %s: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(top, path)
			if err != nil {
				t.Fatal(err)
			}
			pages[name] = string(text)
		}
	}
	return pages
}

// top is the folder of go.mod, above the package that is tested.
func top(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above the test's folder")
		}
	}
}

// Blocks are all blocks of these kinds.
func Blocks(t testing.TB, kinds ...string) (found []Block) {
	t.Helper()
	for page, text := range Pages(t) {
		blocks, err := Split(page, text)
		if err != nil {
			t.Error(err)
		}
		for _, b := range blocks {
			for _, k := range kinds {
				if b.Kind == k {
					found = append(found, b)
				}
			}
		}
	}
	return found
}

var fence = regexp.MustCompile("^( *)```(.*)$")

// Split finds the fenced blocks of a page. Text that is indented like code
// is an error: it has no kind.
func Split(page, text string) (blocks []Block, err error) {
	var in *Block
	var indent string
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m != nil && in == nil:
			in, indent = &Block{Page: page, Line: i + 2, Kind: m[2]}, m[1]
			if Kinds[in.Kind] == "" {
				return blocks, fmt.Errorf("%s:%d: a block of kind %q: see docexample.Kinds", page, i+1, in.Kind)
			}
		case m != nil:
			blocks, in = append(blocks, *in), nil
		case in != nil:
			in.Text += strings.TrimPrefix(line, indent) + "\n"
		case strings.HasPrefix(line, "    ") && strings.TrimSpace(line) != "":
			return blocks, fmt.Errorf("%s:%d: a block without fence and kind", page, i+1)
		}
	}
	if in != nil {
		return blocks, fmt.Errorf("%s:%d: the block does not end", page, in.Line)
	}
	return blocks, nil
}
