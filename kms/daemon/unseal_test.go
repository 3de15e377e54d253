package daemon

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// An address that gives wrong shares in a loop waits for the rest of a
// minute, and nobody else does.
func TestWrongSharesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guesses
		for i := range wrongMost {
			if !g.may("192.0.2.1") {
				t.Fatalf("the limit is %d", i)
			}
			g.add("192.0.2.1")
		}
		if g.may("192.0.2.1") || !g.may("192.0.2.2") {
			t.Error("the limit is not the address' own")
		}
		for i := range 2 * wrongSources {
			g.add(strconv.Itoa(i))
		}
		if len(g.from) > wrongSources {
			t.Errorf("%d addresses are remembered, want at most %d", len(g.from), wrongSources)
		}
		time.Sleep(time.Minute)
		if !g.may("192.0.2.1") {
			t.Error("the limit has no end")
		}
	})
}
