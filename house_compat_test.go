package latchkey_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A proof is what a test shows of another program: the line
// "compatible: AREA | PROGRAM | WHAT" in its comment.
type proof struct{ area, program, what, test string }

var (
	proofLine = regexp.MustCompile(`^(?://|#) compatible: ([^|]+) \| ([^|]+) \| ([^|]+)$`)
	testLine  = regexp.MustCompile(`^func (Test\w+)\(`)
)

// areas are the parts of the page, in its order.
var areas = []string{"Disks", "TPM", "Boot", "Network", "Discovery", "Kairos, Talos, Kubernetes", "Stores", "Release"}

// proofs reads the lines of all tests. A line in Go is of the next test.
func proofs(t *testing.T) (all []proof) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		script := strings.HasPrefix(path, "qemu-tests/scripts/") && strings.HasSuffix(path, ".txtar")
		if err != nil || d.IsDir() || !script && !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		first := len(all)
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if m := proofLine.FindStringSubmatch(line); m != nil {
				all = append(all, proof{m[1], m[2], m[3], ""})
			}
			name := "script " + strings.TrimSuffix(filepath.Base(path), ".txtar")
			if !script {
				m := testLine.FindStringSubmatch(line)
				if m == nil {
					continue
				}
				name = m[1] + " in " + filepath.Dir(path)
			}
			for ; first < len(all); first++ {
				all[first].test = name
			}
		}
		if first < len(all) {
			t.Errorf("%s: a line \"compatible:\" after the last test", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compatibility(t *testing.T) string {
	var b strings.Builder
	all := proofs(t)
	for _, area := range areas {
		b.WriteString("\n## " + area + "\n\n| what others made | what is shown | by |\n|---|---|---|\n")
		var rows []string
		for _, p := range all {
			if p.area == area {
				rows = append(rows, "| "+p.program+" | "+p.what+" | `"+strings.Replace(p.test, " in ", "`, `", 1)+"` |\n")
			}
		}
		slices.Sort(rows)
		b.WriteString(strings.Join(rows, ""))
	}
	for _, p := range all {
		if !slices.Contains(areas, p.area) {
			t.Errorf("%s: there is no part %q", p.test, p.area)
		}
	}
	return b.String()
}

// TestCompatibility: docs/compatibility.md has what the tests show, and no
// more.
func TestCompatibility(t *testing.T) {
	const page, begin = "docs/compatibility.md", "<!-- go test -run TestCompatibility -update . -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, table, ok := strings.Cut(string(text), begin)
	if !ok {
		t.Fatalf("%s lacks the line %q", page, begin)
	}
	want := compatibility(t)
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("%s is old: go test -run TestCompatibility -update . (-want +got):\n%s", page, diff)
	}
}
