package chaos_test

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model takes what may happen, and notices what may not: else all that is
// compared with it says nothing.
func TestModel(t *testing.T) {
	type did struct {
		in  input
		out output
	}
	got := func(active, staged string) did { return did{input{deed: ask}, output{done, active, staged}} }
	does := func(d deed, o outcome) did { return did{input{deed: d}, output{outcome: o}} }
	says := func(staged string) did { return did{input{report, staged}, output{outcome: done}} }
	no := does(ask, refused)
	for _, row := range []struct {
		name string
		ok   bool
		deed []did
	}{
		{"a rotation", true, []did{got("a", ""), does(rotate, done), got("a", "b"), says("b"), got("b", "")}},
		{"a rotation called off", true, []did{got("a", ""), does(rotate, done), got("a", "b"), does(abort, done), got("a", "")}},
		{"a late report of a rotation called off", true, []did{got("a", ""), does(rotate, done), got("a", "b"), does(abort, done), does(rotate, done), says("b"), got("a", "c")}},
		{"that commits another secret", false, []did{got("a", ""), does(rotate, done), got("a", "b"), does(abort, done), does(rotate, done), says("b"), got("c", "")}},
		{"a stop", true, []did{got("a", ""), does(quarantine, done), no, does(readmit, done), got("a", "")}},
		{"a secret after a stop", false, []did{got("a", ""), does(quarantine, done), got("a", "")}},
		{"a refusal of one that is not stopped", false, []did{got("a", ""), no}},
		{"a report of a stopped one", true, []did{got("a", ""), does(rotate, done), got("a", "b"), does(quarantine, done), says("b"), does(readmit, done), got("a", "b")}},
		{"that counts", false, []did{got("a", ""), does(rotate, done), got("a", "b"), does(quarantine, done), says("b"), does(readmit, done), got("b", "")}},
		{"a lost rotation", false, []did{got("a", ""), does(rotate, done), got("a", "")}},
		{"two rotations at once", false, []did{got("a", ""), does(rotate, done), does(rotate, done)}},
		{"a refused rotation where none is", false, []did{got("a", ""), does(rotate, refused)}},
		{"nothing called off", false, []did{got("a", ""), does(abort, done)}},
		{"the old secret after a rotation", false, []did{got("a", ""), does(rotate, done), got("a", "b"), says("b"), got("a", "")}},
		{"another staged secret", false, []did{got("a", ""), does(rotate, done), got("a", "b"), got("a", "c")}},
	} {
		var h history
		for i, d := range row.deed {
			h = append(h, porcupine.Operation{Input: d.in, Output: d.out, Call: int64(2 * i), Return: int64(2*i + 1)})
		}
		if h.possible() != row.ok {
			t.Errorf("%s: possible is %t", row.name, !row.ok)
		}
	}
}
