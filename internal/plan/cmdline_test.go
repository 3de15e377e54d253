package plan_test

import (
	"strings"
	"testing"

	"latchkey/internal/plan"
)

func TestSplitCmdline(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"words", "a b=c", "a|b=c"},
		{"white space", " a\t b \n", "a|b"},
		{"quotes in the value", `a="b c" d`, "a=b c|d"},
		{"quotes around all", `"a=b c"`, "a=b c"},
		{"empty value differs from none", "a= b", "a=|b"},
		{"init's own words", "a -- b", "a"},
		{"open quote", `a="b c`, "a=b c"},
		{"empty", "", ""},
	} {
		args, err := plan.SplitCmdline(tt.line)
		var got []string
		for _, a := range args {
			got = append(got, a.String())
		}
		if err != nil || strings.Join(got, "|") != tt.want {
			t.Errorf("%s: SplitCmdline(%q) = %q, %v, want %q", tt.name, tt.line, got, err, tt.want)
		}
	}
	if _, err := plan.SplitCmdline(strings.Repeat("x", 10000)); err == nil {
		t.Error("a command line of 10,000 bytes was taken")
	}
}
