package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestProblemsHaveRemedies: each line of check that is not "ok" says what to
// do, by the source.
func TestProblemsHaveRemedies(t *testing.T) {
	files, err := filepath.Glob("check*.go")
	if err != nil {
		t.Fatal(err)
	}
	set, found := token.NewFileSet(), 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if isProblem, hasRemedy := problem(n); isProblem {
				found++
				if !hasRemedy {
					t.Errorf("%s: a problem without a remedy", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if found < 40 {
		t.Errorf("%d problems were found in %v: is the test looking for the right words?", found, files)
	}
}

// problem tells whether a node makes a finding that is not "ok", and whether
// it says what to do.
func problem(n ast.Node) (is, remedied bool) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.Ident); !ok || kind.Name != "finding" {
			return false, false
		}
		for _, e := range n.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch pair.Key.(*ast.Ident).Name {
			case "Result":
				is = pair.Value.(*ast.Ident).Name != "good"
			case "Remedy":
				remedied = true
			}
		}
		return is, remedied
	case *ast.CallExpr:
		name := ""
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		if (name == "warn" || name == "fail" || name == "missing" || name == "say") && len(n.Args) > 3 {
			text, literal := n.Args[2].(*ast.BasicLit)
			return true, !literal || text.Value != `""`
		}
	}
	return false, false
}

// TestNobodyOurs: what is wrong with the key servers that were found, and what
// to do: only one that answers may have another key than the pinned one.
func TestNobodyOurs(t *testing.T) {
	for _, row := range []struct {
		name         string
		found        []found
		text, remedy string
	}{
		{"another key", []found{{Address: "192.0.2.5:7741", Pin: another}}, "no key server here holds a pinned key: another one has 192.0.2.5:7741", "trust.kms"},
		{"silent", []found{{Address: "192.0.2.5:7741", Pin: "kms-unreachable"}}, "no key server answers: 192.0.2.5:7741 (kms-unreachable)", "latchkey-kms runs"},
		{"both", []found{{Address: "192.0.2.5:7741", Pin: "kms-unreachable"}, {Address: "192.0.2.6:7741", Pin: another}}, "another one has 192.0.2.6:7741, 192.0.2.5:7741 (kms-unreachable)", "trust.kms"},
		{"nobody", nil, "nothing answers for http://kms.local", "latchkey-kms runs"},
	} {
		f := nobodyOurs(&discovery{urls: []string{"http://kms.local"}}, row.found)
		if f.Result != bad || !strings.Contains(f.Text, row.text) || !strings.Contains(f.Remedy, row.remedy) {
			t.Errorf("%s: %v %q, do: %q", row.name, f.Result, f.Text, f.Remedy)
		}
	}
}
