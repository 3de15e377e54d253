package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/hook"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/policy"
)

// TestHookNames: whatever a notice can be called, a hook can wait for; a
// name that is not among them is refused in kms.yaml.
func TestHookNames(t *testing.T) {
	known := hook.Names()
	must := func(what, name string) {
		t.Helper()
		if !slices.Contains(known, name) {
			t.Errorf("%s %q is no name that a hook can wait for", what, name)
		}
	}
	for s := kms.OK; s.Code() != "unknown"; s++ {
		must("status", s.Code())
	}
	for r := kairos.Pending; r.Code() != ""; r++ {
		must("status of Kairos", r.Code())
	}
	for _, c := range policy.Judge(policy.Facts{}).Checks {
		must("rule", string(c.Rule))
	}
	for _, name := range eventsInSource(t) {
		if !slices.ContainsFunc(known, func(k string) bool { return k == name || strings.HasSuffix(name, " ") && strings.HasPrefix(k, name) }) {
			t.Errorf("event %q of the source is no name that a hook can wait for", name)
		}
	}
}

// eventsInSource are the texts that the source gives to a field Event; of
// one that is put together, the first part.
func eventsInSource(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			if key, ok := field.Key.(*ast.Ident); !ok || key.Name != "Event" {
				return true
			}
			value := field.Value
			if sum, ok := value.(*ast.BinaryExpr); ok {
				value = sum.X
			}
			if text, ok := value.(*ast.BasicLit); ok {
				name, _ := strconv.Unquote(text.Value)
				names = append(names, name)
			}
			return true
		})
		return nil
	})
	if err != nil || len(names) < 15 {
		t.Fatalf("found %d events in the source, %v", len(names), err)
	}
	return names
}
