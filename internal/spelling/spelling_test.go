package spelling_test

import (
	"testing"

	"latchkey/internal/spelling"
)

func TestDistance(t *testing.T) {
	for _, row := range []struct {
		name, a, b string
		want       int
	}{
		{"the same", "latchkey", "latchkey", 0},
		{"one left out", "lachkey", "latchkey", 1},
		{"one too many", "latchkeys", "latchkey", 1},
		{"one changed", "latchkex", "latchkey", 1},
		{"two exchanged are two changed", "latchkye", "latchkey", 2},
		{"nothing", "", "kms", 3},
		{"nothing in common", "abc", "xyz", 3},
	} {
		if got := spelling.Distance(row.a, row.b); got != row.want {
			t.Errorf("%s: Distance(%q, %q) = %d, want %d", row.name, row.a, row.b, got, row.want)
		}
		if got := spelling.Distance(row.b, row.a); got != row.want {
			t.Errorf("%s: Distance(%q, %q) = %d, want %d", row.name, row.b, row.a, got, row.want)
		}
	}
}

// The distance is a metric: none to itself, the same both ways, and no
// shorter by a way round.
func TestDistanceIsAMetric(t *testing.T) {
	words := []string{"", "a", "ab", "ba", "listen", "silent", "enlist"}
	for _, a := range words {
		for _, b := range words {
			if d := spelling.Distance(a, b); d != spelling.Distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
				t.Errorf("Distance(%q, %q) = %d, and %d back", a, b, d, spelling.Distance(b, a))
			}
			for _, c := range words {
				if spelling.Distance(a, c) > spelling.Distance(a, b)+spelling.Distance(b, c) {
					t.Errorf("%q is nearer to %q by way of %q", a, c, b)
				}
			}
		}
	}
}
