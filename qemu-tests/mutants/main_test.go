package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutantsFit: the source has what each mutant changes, and Go still
// reads as Go afterwards. Whether a test notices takes hours: make mutants.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.rule, err)
			continue
		}
		if !strings.Contains(string(text), m.old) {
			t.Errorf("%s: %s has no %q: mend the list", m.rule, m.file, m.old)
			continue
		}
		if filepath.Ext(m.file) != ".go" {
			continue
		}
		mutated := strings.Replace(string(text), m.old, m.new, 1)
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, mutated, parser.SkipObjectResolution); err != nil {
			t.Errorf("%s: it does not build: %v", m.rule, err)
		}
	}
}
