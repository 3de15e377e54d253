package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faults/peers.md I12: a program that is not there skipped its test, and
// the run was green.
func TestReport(t *testing.T) {
	const skipped = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: needs ping\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":1.5}
`
	for _, tt := range []struct {
		name, allow, in string
		strict, ok      bool
		want            string
	}{
		{"on a developer's machine a skip is named", "", skipped, false, true, "pass p 1.5 s\nskipped: p TestA: a_test.go:3: needs ping\n"},
		{"CI takes no skip", "", skipped, true, false, "pass p 1.5 s\nSKIPPED, which CI does not take: p TestA: a_test.go:3: needs ping\n"},
		{"but one that is listed", "p TestA needs ping", skipped, true, true, "pass p 1.5 s\nskipped, as allowed: p TestA: a_test.go:3: needs ping\n"},
		{"any test for that reason", "* * needs ping", skipped, true, true, "pass p 1.5 s\nskipped, as allowed: p TestA: a_test.go:3: needs ping\n"},
		{"another reason is not listed", "p TestA needs root", skipped, true, false, "pass p 1.5 s\nSKIPPED, which CI does not take: p TestA: a_test.go:3: needs ping\n"},
		{"a package without tests is no skip", "", `{"Action":"skip","Package":"p","Elapsed":0}`, true, true, ""},
		{
			"what failed is printed whole, the rest is not", "",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1}
{"Action":"output","Package":"p","Test":"TestB","Output":"b_test.go:9: F() = 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":1}
{"Action":"fail","Package":"p","Elapsed":2}
`, false, false, "b_test.go:9: F() = 1, want 2\nfail p 2.0 s\n",
		},
		{
			"a package that does not compile", "",
			`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
`, false, false, "p.go:1: syntax error\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, err := parseAllowed("# a comment\n" + tt.allow)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			r := newReport(&out, allowed, false)
			if err := r.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if ok := r.end(tt.strict); ok != tt.ok {
				t.Errorf("end(%t) = %t, want %t", tt.strict, ok, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("the report differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReasonWanted: an allowance says why, or it is none.
func TestReasonWanted(t *testing.T) {
	if got, err := parseAllowed("p TestA"); err == nil {
		t.Errorf("parseAllowed without a reason = %v, want an error", got)
	}
}
