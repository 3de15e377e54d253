package main

import (
	"os"
	"strings"
	"testing"
)

const sample = `# Performance

<!-- counted: how -->
| what is counted | at most |
|---|---|
| TPM commands | 12 |
| bytes of the init | 8,300,000 |
<!-- end of counted -->
between
<!-- timed: make bench -->
nothing yet
<!-- end of timed -->
after
`

// A number that is not above its row's passes, and nothing else does.
func TestCompare(t *testing.T) {
	for _, row := range []struct {
		name  string
		found string
		says  string
	}{
		{"as the page says", "TPM commands=12,bytes of the init=8300000", ""},
		{"less", "TPM commands=11,bytes of the init=1", ""},
		{"one more", "TPM commands=13,bytes of the init=1", "TPM commands: 13, at most 12"},
		{"a byte more", "TPM commands=1,bytes of the init=8300001", "bytes of the init: 8300001, at most 8300000"},
		{"another row", "TPM commands=1,bytes of the init=1,disks=1", "disks: 1, and the page has no row for it"},
		{"a row that was not counted", "TPM commands=1", "bytes of the init: was not counted"},
	} {
		found, err := parsePairs(strings.Split(row.found, ","))
		if err != nil {
			t.Fatal(err)
		}
		err = compare(sample, found)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: compare = %v, want %q", row.name, err, row.says)
		}
	}
	if err := compare("no marks", nil); err == nil {
		t.Error("a page without the section passes")
	}
}

// What is written is what is read, and the rest of the page stays.
func TestWrite(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("docs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"counted", "-update", "TPM commands=10", "frames=20", "bytes=100000"}, nil); err != nil {
		t.Fatal(err)
	}
	bench := "== whole boots\nround 1: floor 1 s\nours, ratio 2.00\n\n== keyslots\nnothing\n"
	if err := run([]string{"timed"}, strings.NewReader(bench)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<!-- counted: how -->\n| what is counted | at most |\n|---|---|\n| TPM commands | 10 |\n| frames | 25 |\n| bytes | 101,000 |\n<!-- end of counted -->\nbetween\n",
		", commit ", "\nwhole boots:\n\n- ours, ratio 2.00\n<!-- end of timed -->\nafter\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "keyslots") || strings.Contains(string(text), "nothing yet") {
		t.Errorf("the page has too much:\n%s", text)
	}
	if err := run([]string{"counted", "TPM commands=11", "frames=1", "bytes=1"}, nil); err == nil {
		t.Error("one command more passes")
	}
	if err := run([]string{"timed"}, strings.NewReader("make: *** no rule")); err == nil {
		t.Error("output without a ratio is written")
	}
	for _, args := range [][]string{nil, {"else"}, {"counted", "x"}, {"counted", "x=y"}, {"counted", "-no"}} {
		if err := run(args, nil); err == nil {
			t.Errorf("run(%q) passes", args)
		}
	}
}
