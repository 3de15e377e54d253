package site_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
)

// chained is a log of so many events, and where it ends after each.
func chained(t *testing.T, n int, words string) (bodies [][]byte, ends []ledger.ChainEnd) {
	t.Helper()
	ends = append(ends, ledger.ChainEnd{})
	for i := range n {
		body := fmt.Appendf(nil, `{"seq":%d,"time":"2026-05-01T00:00:00Z","event":%q}`, i+1, words)
		end, err := ends[i].Follow(uint64(i+1), body)
		if err != nil {
			t.Fatal(err)
		}
		bodies, ends = append(bodies, body), append(ends, end)
	}
	return bodies, ends
}

// TestJudge: the center takes a site's log over where it left off, and
// nothing that does not go on from there to where the site says it ends.
func TestJudge(t *testing.T) {
	log, ends := chained(t, 5, "get")
	other, otherEnds := chained(t, 5, "put")
	seqs := []uint64{1, 2, 3, 4, 5}
	swapped := slices.Clone(log)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	rows := []struct {
		name    string
		merged  ledger.ChainEnd
		saidEnd ledger.ChainEnd
		said    site.Said
		want    int // events that are taken; -1: refused
	}{
		{"from the beginning", ends[0], ends[0], site.Said{End: ends[5], Seqs: seqs, Links: log}, 5},
		{"a part of it", ends[0], ends[0], site.Said{End: ends[5], Seqs: seqs[:3], Links: log[:3]}, 3},
		{"the rest", ends[3], ends[5], site.Said{End: ends[5], Seqs: seqs[3:], Links: log[3:]}, 2},
		{"what was taken over, again", ends[3], ends[5], site.Said{End: ends[5], Seqs: seqs, Links: log}, 2},
		{"nothing", ends[3], ends[5], site.Said{End: ends[5]}, 0},
		{"one is left out", ends[0], ends[0], site.Said{End: ends[5], Seqs: slices.Concat(seqs[:2], seqs[3:]), Links: slices.Concat(log[:2], log[3:])}, -1},
		{"two are exchanged", ends[0], ends[0], site.Said{End: ends[5], Seqs: seqs, Links: swapped}, -1},
		{"another log", ends[2], ends[2], site.Said{End: otherEnds[5], Seqs: seqs[2:], Links: other[2:]}, -1},
		{"another log of the same end", ends[0], ends[0], site.Said{End: ends[5], Seqs: seqs, Links: other}, -1},
		{"it ends earlier than it did", ends[3], ends[5], site.Said{End: ends[4]}, -1},
		{"it ends there with another event", ends[3], ends[5], site.Said{End: otherEnds[5]}, -1},
		{"it goes past where it ended, not through it", ends[0], otherEnds[4], site.Said{End: ends[5], Seqs: seqs, Links: log}, -1},
		{"more than it signed", ends[0], ends[0], site.Said{End: ends[4], Seqs: seqs, Links: log}, -1},
		{"no event", ends[0], ends[0], site.Said{End: ends[5], Seqs: []uint64{1}, Links: [][]byte{[]byte(`{"seq":1,`)}}, -1},
	}
	for _, row := range rows {
		at, events, err := site.Judge(row.merged, row.saidEnd, row.said)
		if (err != nil) != (row.want < 0) || err == nil && len(events) != row.want {
			t.Errorf("%s: Judge = %d events to %d, %v, want %d", row.name, len(events), at.Seq, err, row.want)
		}
		if err != nil && at != row.merged {
			t.Errorf("%s: refused, and taken over up to %d", row.name, at.Seq)
		}
	}
}

// TestBoundsOfSites: what is no bound is refused.
func TestBoundsOfSites(t *testing.T) {
	good := site.NewSite{Name: "berlin", Labels: map[string]string{"site": "berlin"}, Center: []string{"center:7744"}, Bounds: site.Bounds{Offline: policy.Duration(time.Hour), Releases: 3, Machines: 40}}
	if err := good.Check(); err != nil || good.Bounds.InAll != 120 {
		t.Errorf("Check = %v, in all %d; want 120", err, good.Bounds.InAll)
	}
	for name, spoil := range map[string]func(*site.NewSite){
		"a name with blanks":     func(n *site.NewSite) { n.Name = "new york" },
		"no name":                func(n *site.NewSite) { n.Name = "" },
		"no address":             func(n *site.NewSite) { n.Center = nil },
		"all machines":           func(n *site.NewSite) { n.Labels = nil },
		"for ever":               func(n *site.NewSite) { n.Bounds.Offline = policy.Duration(31 * 24 * time.Hour) },
		"for no time":            func(n *site.NewSite) { n.Bounds.Offline = 0 },
		"no release":             func(n *site.NewSite) { n.Bounds.Releases = 0 },
		"any number of machines": func(n *site.NewSite) { n.Bounds.Machines = 200_000 },
		"in all less than none":  func(n *site.NewSite) { n.Bounds.InAll = -1 },
	} {
		bad := good
		if spoil(&bad); bad.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
