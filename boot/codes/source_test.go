package codes_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/kms"
)

// emitted is a code in the source: where it stands and what its comment
// says of it.
type emitted struct {
	code, where, comment string
}

// rooms are what the init is made of: everything there that has a code may
// reach its console. kms/server and the stores are not linked into it.
var rooms = []string{"boot", "cmd/init", "discover", "netup", "unlock", "kms"}

// TestEveryCode walks the source of the init: each code that can be shown
// is in the table, and nothing in the table is shown by nobody.
func TestEveryCode(t *testing.T) {
	shown := map[string]bool{codes.Timeout: true, codes.Failed: true}
	for _, e := range source(t) {
		shown[e.code] = true
		if codes.Means(e.code).Advice == "" {
			t.Errorf("%s emits the code %q, which is not in the table", e.where, e.code)
		}
	}

	for s := kms.Pending; s.Code() != "unknown"; s++ {
		shown[s.Code()] = true
		if codes.Means(s.Code()).Advice == "" {
			t.Errorf("the key server's status %q is not in the table", s.Code())
		}
	}

	// luks2 gives these as codes of a *Rejected; all others of its rules are
	// shown as header-rejected.
	for _, code := range []string{"headers-damaged", "kdf-memory", "no-usable-keyslot"} {
		shown[code] = true
	}
	for code := range codes.All() {
		if !shown[code] {
			t.Errorf("nobody emits the code %q of the table", code)
		}
	}
}

// TestFinalSaidOnce: where a comment beside a code says that it is final,
// the table says so, too, and the other way round.
func TestFinalSaidOnce(t *testing.T) {
	all := source(t)
	if len(all) < 30 {
		t.Fatalf("only %d codes found: the test looks at the wrong place", len(all))
	}
	final := regexp.MustCompile(`\bfinal\b`)
	for _, e := range all {
		if e.comment == "" {
			continue
		}
		if says, is := final.MatchString(e.comment), codes.Means(e.code).Class == codes.Final; says != is {
			t.Errorf("%s: %q: the comment %q says final: %t; the table: %t", e.where, e.code, strings.TrimSpace(e.comment), says, is)
		}
	}
}

// source lists the codes in the rooms' source: constants named Code…,
// what codes.Fail and a StepError literal are given, and the statuses.
func source(t *testing.T) (all []emitted) {
	t.Helper()
	root := filepath.Join("..", "..")
	for _, room := range rooms {
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && room == "kms" && path != filepath.Join(root, "kms"), d.Name() == "testdata", strings.HasSuffix(d.Name(), "test") && d.IsDir():
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			found, err := inFile(path)
			all = append(all, found...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func inFile(path string) (all []emitted, err error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}

	add := func(e ast.Expr, comment string) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if code, err := strconv.Unquote(lit.Value); err == nil && code != "" {
				all = append(all, emitted{code, fset.Position(lit.Pos()).String(), comment})
			}
		}
	}

	statuses := map[int]string{} // index → comment of a Status constant
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				isCode := strings.HasPrefix(name.Name, "Code") || strings.HasSuffix(path, filepath.Join("boot", "codes", "codes.go"))
				if isCode && i < len(n.Values) {
					add(n.Values[i], n.Comment.Text())
				}
			}
		case *ast.CallExpr:
			if isFail(n.Fun) && len(n.Args) > 1 {
				add(n.Args[0], "")
			}
		case *ast.CompositeLit:
			if id, ok := n.Type.(*ast.Ident); ok && id.Name == "StepError" && len(n.Elts) == 3 {
				add(n.Elts[1], "")
			}
		case *ast.GenDecl:
			if slices.ContainsFunc(n.Specs, isStatus) {
				for i, s := range n.Specs {
					statuses[i] = s.(*ast.ValueSpec).Comment.Text()
				}
			}
		}
		return true
	})

	for i, comment := range statuses {
		if code := (kms.OK + kms.Status(i)).Code(); code != kms.OK.Code() {
			all = append(all, emitted{code, path, comment})
		}
	}
	return all, nil
}

func isFail(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "codes" && s.Sel.Name == "Fail"
}

// isStatus tells whether a constant opens the list of kms.Status.
func isStatus(s ast.Spec) bool {
	v, ok := s.(*ast.ValueSpec)
	if !ok {
		return false
	}
	id, ok := v.Type.(*ast.Ident)
	return ok && id.Name == "Status" && v.Names[0].Name == "OK"
}
