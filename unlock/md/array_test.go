package md_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"latchkey/unlock/md"
	"latchkey/unlock/md/mdtest"
)

// array makes an array of these members: "0", "1", … in the order of their
// devices, vda and so on.
func array(t *testing.T, members ...mdtest.Member) *md.Array {
	t.Helper()
	var all []*md.Member
	for i, m := range members {
		if m.Version == "" {
			m.Version = "1.2"
		}
		all = append(all, read(t, fmt.Sprintf("vd%c", 'a'+i), m.Device()))
	}
	arrays := md.Arrays(all)
	if len(arrays) != 1 {
		t.Fatalf("Arrays = %v, want one", arrays)
	}
	return arrays[0]
}

// TestEnough: which members each level can lack.
func TestEnough(t *testing.T) {
	for _, tt := range []struct {
		level  int
		layout uint32
		places int
		there  []int
		dirty  bool
		want   string // "" is that it runs
	}{
		{1, 0, 2, []int{0}, false, ""},
		{1, 0, 3, []int{2}, true, ""},
		{0, 0, 2, []int{0}, false, "lacks member 1 and needs 2 of 2"},
		{4, 0, 3, []int{0, 2}, false, ""},
		{5, 2, 3, []int{0, 2}, false, ""},
		{5, 2, 3, []int{0, 2}, true, "lacks member 1 and was being written to: its parity cannot be trusted, and only mdadm --assemble --force runs it"},
		{5, 2, 3, []int{0, 1, 2}, true, ""},
		{5, 2, 4, []int{0, 2}, false, "lacks members 1, 3 and needs 3 of 4"},
		{6, 2, 4, []int{0, 2}, false, ""},
		{6, 2, 5, []int{0, 2}, false, "lacks members 1, 3, 4 and needs 3 of 5"},
		{6, 2, 9, []int{0, 2}, false, "lacks members 1, 3, 4, 5 and 3 more and needs 7 of 9"},
		{10, 0x102, 4, []int{0, 2}, false, ""},
		{10, 0x102, 4, []int{1, 3}, true, ""},
		{10, 0x102, 4, []int{2, 3}, false, "lacks members 0, 1: nothing is left of the data from place 0 on"},
		{10, 0x102, 4, []int{0, 1}, false, "nothing is left of the data from place 2 on"},
		{10, 0x102, 3, []int{0}, false, "nothing is left of the data from place 1 on"},
		{10, 0x201, 2, []int{1}, false, ""},
		{10, 0x201, 4, []int{0, 2}, false, ""},
		{10, 0x103, 3, []int{1}, false, ""},
	} {
		var members []mdtest.Member
		for _, n := range tt.there {
			members = append(members, mdtest.Member{Level: tt.level, Layout: tt.layout, Places: tt.places, Number: n, Dirty: tt.dirty, Events: 9})
		}
		a := array(t, members...)
		err := a.Enough()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("level %d of %d with %v: Enough = %v, want %q", tt.level, tt.places, tt.there, err, tt.want)
		}
		if want := len(tt.there) == tt.places; a.Whole() != want {
			t.Errorf("level %d of %d with %v: Whole = %t, want %t", tt.level, tt.places, tt.there, a.Whole(), want)
		}
	}
}

const (
	spare  = 0xffff
	failed = 0xfffe
)

// TestOld: members that missed writes are left out, with a line.
func TestOld(t *testing.T) {
	for _, tt := range []struct {
		name                string
		members             []mdtest.Member
		members2, old, line string
		whole               bool
	}{
		{
			"two events behind",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 7}, {Level: 1, Places: 2, Number: 1, Events: 9}},
			"vdb", "vda", "vda is out of date and left out: it is at event 7, the others are at 9", false,
		},
		{
			"one event behind: the power went between two writes",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 8}, {Level: 1, Places: 2, Number: 1, Events: 9}},
			"vdb vda", "", "", true,
		},
		{
			"one event behind, and the other saw it fail",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 8}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{failed, 1}}},
			"vdb", "vda", "vda is out of date and left out: it is at event 8, the others are at 9, and it has failed", true,
		},
		{
			"it failed itself",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 9, Places1: []uint16{failed, 1}}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{failed, 1}}},
			"vdb", "vda", "and it has failed", true,
		},
		{
			"a spare has no data",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 9, Places1: []uint16{0, 1, spare}}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{0, 1, spare}}, {Level: 1, Places: 2, Number: 2, Events: 3, Places1: []uint16{0, 1, spare}}},
			"vda vdb vdc", "", "", true,
		},
		{
			"a spare that has since got a place",
			[]mdtest.Member{{Level: 1, Places: 2, Events: 9, Places1: []uint16{0, failed, 1}}, {Level: 1, Places: 2, Number: 2, Events: 3, Places1: []uint16{0, 1, spare}}},
			"vda", "vdb", "vdb is out of date and left out: it is at event 3, the others are at 9", false,
		},
		{
			"0.90",
			[]mdtest.Member{{Version: "0.90", Level: 1, Places: 2, Events: 1 << 33}, {Version: "0.90", Level: 1, Places: 2, Number: 1, Events: 9}},
			"vda", "vdb", "it is at event 9, the others are at 8589934592", false,
		},
	} {
		a := array(t, tt.members...)
		if a.Problem != nil || names(a.Members) != tt.members2 || names(a.Old) != tt.old || a.Whole() != tt.whole {
			t.Errorf("%s: members %q, old %q, whole %t, %v; want %q, %q, %t", tt.name, names(a.Members), names(a.Old), a.Whole(), a.Problem, tt.members2, tt.old, tt.whole)
		}
		if lines := strings.Join(a.LeftOut(), "\n"); !strings.Contains(lines, tt.line) || (lines == "") != (tt.line == "") {
			t.Errorf("%s: LeftOut = %q, want %q", tt.name, lines, tt.line)
		}
	}
}

// TestConflict: what cannot be told apart is not run.
func TestConflict(t *testing.T) {
	one := mdtest.Member{Level: 1, Places: 2, Number: 1, Events: 9}
	for _, tt := range []struct {
		name    string
		members []mdtest.Member
		want    string
	}{
		{"each ran without the other", []mdtest.Member{{Level: 1, Places: 2, Events: 9, Places1: []uint16{0, failed}}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{failed, 1}}}, "each was in use without the other"},
		{"only one says so", []mdtest.Member{{Level: 1, Places: 2, Events: 9}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{failed, 1}}}, "each was in use without the other"},
		{"a copy", []mdtest.Member{one, one}, "vda (member 1) and vdb (member 1) are the same member: one is a copy; unplug it"},
		{"a copy that is one event behind", []mdtest.Member{one, {Level: 1, Places: 2, Number: 1, Events: 8}}, "one is a copy"},
		{"a copy of a member that is rebuilt", []mdtest.Member{{Level: 1, Places: 2, Events: 9}, {Level: 1, Places: 2, Number: 1, Events: 9, Features: 2}, {Level: 1, Places: 2, Number: 1, Events: 9, Features: 2}}, "vdb (member 1) and vdc (member 1) are the same member"},
		{"two in one place", []mdtest.Member{{Level: 1, Places: 2, Events: 9, Places1: []uint16{0, 0}}, {Level: 1, Places: 2, Number: 1, Events: 9, Places1: []uint16{0, 0}}}, "are the same member"},
		{"another level", []mdtest.Member{{Level: 5, Places: 2, Events: 9}, one}, "contradict each other"},
		{"other places", []mdtest.Member{{Level: 1, Places: 3, Events: 9}, one}, "contradict each other"},
		{"another layout", []mdtest.Member{{Level: 1, Layout: 2, Places: 2, Events: 9}, one}, "contradict each other"},
		{"another version", []mdtest.Member{{Version: "1.0", Level: 1, Places: 2, Events: 9}, one}, "contradict each other"},
	} {
		a := array(t, tt.members...)
		if !errors.Is(a.Problem, md.ErrConflict) || !strings.Contains(a.Problem.Error(), tt.want) {
			t.Errorf("%s: %v, want %v with %q", tt.name, a.Problem, md.ErrConflict, tt.want)
		}
	}
}

// TestRebuilding: a member that is being rebuilt, or is to replace another,
// does not hold all that its place should.
func TestRebuilding(t *testing.T) {
	for features, want := range map[uint32]string{0: "", 2: " runs without member 1 of 2", 16: " runs without member 1 of 2"} {
		a := array(t, mdtest.Member{Level: 1, Places: 2, Events: 9}, mdtest.Member{Level: 1, Places: 2, Number: 1, Events: 9, Features: features})
		if got := a.Degraded(); !strings.HasSuffix(got, want) || (got == "") != (want == "") || names(a.Members) != "vda vdb" || !a.Whole() {
			t.Errorf("features %d: %q with %s, want %q", features, got, names(a.Members), want)
		}
	}
	// The place's own member and its replacement are no copies.
	a := array(t, mdtest.Member{Level: 1, Places: 1, Events: 9, Places1: []uint16{0, 0}}, mdtest.Member{Level: 1, Places: 1, Number: 1, Events: 9, Features: 16, Places1: []uint16{0, 0}})
	if a.Problem != nil || a.Degraded() != "" || names(a.Members) != "vda vdb" {
		t.Errorf("a replacement: %v, %q", a.Problem, a.Degraded())
	}
}

// TestKnownLoss: an array that had lost a member when it was last in use is
// as whole as it was; nobody waits for the member.
func TestKnownLoss(t *testing.T) {
	a := array(t, mdtest.Member{Level: 1, Places: 2, Events: 9, Places1: []uint16{0, failed}})
	if !a.Whole() || a.Degraded() != "array raid1 "+mdtest.UUID+" runs without member 1 of 2" {
		t.Errorf("Whole = %t, Degraded = %q", a.Whole(), a.Degraded())
	}
	if a := array(t, mdtest.Member{Level: 5, Places: 2, Events: 9, Dirty: true, Places1: []uint16{0, failed}}); a.Whole() {
		t.Errorf("an array that cannot run is whole")
	}
}

// TestNumber: the array gets the number that mdadm would give it.
func TestNumber(t *testing.T) {
	for name, want := range map[string]int{"till:0": 0, "127": 127, "till:root": -1, "": -1, "till:": -1, "till:512": -1, "till:99999999999999999999": -1, "7:x": -1, "till:-1": -1} {
		if got := array(t, mdtest.Member{Level: 1, Places: 1, Name: name}).Number(); got != want {
			t.Errorf("Number of %q = %d, want %d", name, got, want)
		}
	}
	for minor, want := range map[uint32]int{0: 0, 9: 9, 1 << 31: -1} {
		if got := array(t, mdtest.Member{Version: "0.90", Level: 1, Places: 1, Minor: minor}).Number(); got != want {
			t.Errorf("Number of 0.90 with %d = %d, want %d", minor, got, want)
		}
	}
}
