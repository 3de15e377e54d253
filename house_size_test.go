package latchkey_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// The lines that a file and a function may have. The rows of a table do not
// count as lines of its function.
const (
	maxFile = 300
	maxFunc = 60
)

// oversize are the files and functions that may be longer, and why.
var oversize = map[string]string{
	"boot/boottest/process.go":                             "one double: PID 1's children and what they do to each other",
	"boot/boot_test.go":                                    "the boot's story with the faults of each step, on one fake",
	"cmd/latchkey-kms/killed_test.go":                      "one story: a server that is killed at any write",
	"kms/store/mirror/guard_test.go TestGuardSeesEachStep": "one story, step by step",
	"kms/server/damage_test.go":                            "one story: what somebody can do to a database",
	"kms/store/etcd/etcd_test.go":                          "one cluster, started once, and every way it fails",
	"kms/store/kube/kube.go":                               "the log in the head object and its carrying on are one thing",
	"kms/store/kube/kube_test.go":                          "one API server, started once, and every way it fails",
	"unlock/tpm/attack_test.go":                            "one proxy on the TPM's bus and what it tries",
	"cmd/latchkey-kms/cluster_test.go kubeKairos":          "one story, step by step",
	"kms/home/migrate_test.go TestCopyIsCutOff":            "one story, step by step",
	"kms/server/trust_test.go TestChangingTheSigningKey":   "one story, step by step",
	"netup/fuzz_test.go FuzzPacket":                        "the seeds: one packet of each kind",
}

func TestSizes(t *testing.T) {
	used := map[string]bool{}
	complain := func(name string, lines, limit int) {
		used[name] = true
		if oversize[name] == "" {
			t.Errorf("%s has %d lines, want at most %d: split it, or give the reason in house_size_test.go", name, lines, limit)
		}
	}

	fset := token.NewFileSet()
	for _, path := range goFiles(t) {
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := fset.File(f.Pos()).LineCount(); n > maxFile {
			complain(path, n, maxFile)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if n := statementLines(fset, fn); n > maxFunc {
					complain(path+" "+fn.Name.Name, n, maxFunc)
				}
			}
		}
	}

	for name := range oversize {
		if !used[name] {
			t.Errorf("house_size_test.go excuses %s, which needs no excuse", name)
		}
	}
}

// statementLines counts the lines of a function that are not inside of a
// composite literal.
func statementLines(fset *token.FileSet, fn *ast.FuncDecl) int {
	line := func(p token.Pos) int { return fset.Position(p).Line }
	lines := line(fn.End()) - line(fn.Pos()) + 1
	ast.Inspect(fn, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if ok {
			lines -= line(lit.End()) - line(lit.Pos())
		}
		return !ok
	})
	return lines
}

// goFiles are all Go files of the tree but those in testdata.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
