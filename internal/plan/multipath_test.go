package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// TestMultipath: which disks a plan may name, and what it makes of them.
func TestMultipath(t *testing.T) {
	const wwid = "36001405c0ffee0000000000000000001"
	for _, tt := range []struct {
		name string
		list []plan.Multipath
		want string
	}{
		{"two", []plan.Multipath{{WWID: wwid, Name: "mpatha"}, {WWID: "eui.1", Name: "eui.1"}}, ""},
		{"no WWID", []plan.Multipath{{Name: "mpatha"}}, "cannot be a WWID"},
		{"a WWID that is too long", []plan.Multipath{{WWID: strings.Repeat("x", 113), Name: "mpatha"}}, "cannot be a WWID"},
		{"no name", []plan.Multipath{{WWID: wwid}}, "cannot be the name of a mapping"},
		{"a name that leaves no room for a partition's", []plan.Multipath{{WWID: wwid, Name: strings.Repeat("x", 60)}}, "cannot be the name of a mapping"},
		{"a volume's name", []plan.Multipath{{WWID: wwid, Name: "root"}}, "are called root"},
		{"one disk twice", []plan.Multipath{{WWID: wwid, Name: "mpatha"}, {WWID: wwid, Name: "mpathb"}}, wwid},
		{"one name twice", []plan.Multipath{{WWID: wwid, Name: "mpatha"}, {WWID: "eui.1", Name: "mpatha"}}, "are called mpatha"},
	} {
		p := good()
		p.Multipath = tt.list
		err := p.Check()
		if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(got, tt.want) {
			t.Errorf("%s: Check = %v, want %q", tt.name, err, tt.want)
		}
	}

	p := good()
	p.Multipath = []plan.Multipath{{WWID: wwid, Name: "mpatha"}}
	if name, ok := p.PathsOf(wwid); name != "mpatha" || !ok {
		t.Errorf("PathsOf = %q, %t", name, ok)
	}
	for _, other := range []string{"", wwid[:20]} {
		if name, ok := p.PathsOf(other); ok {
			t.Errorf("PathsOf(%q) = %q", other, name)
		}
	}
	many := good()
	for i := range 65 {
		many.Multipath = append(many.Multipath, plan.Multipath{WWID: fmt.Sprint("w", i), Name: fmt.Sprint("n", i)})
	}
	if err := many.Check(); err == nil || !strings.Contains(err.Error(), "the limit is 64") {
		t.Errorf("65 disks: Check = %v", err)
	}
}
