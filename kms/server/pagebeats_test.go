package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
)

// BenchmarkListOfBeats is what a look at the list costs the server, in a
// browser and in the terminal, with 10,000 machines that all beat: also for
// somebody who administers a hundredth of them.
func BenchmarkListOfBeats(b *testing.B) {
	l := newPages(b, nil)
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Presence: ptr(policy.Duration(10 * time.Minute))}})
	l.fill(10_000)
	nodes, err := l.Nodes()
	if err != nil {
		b.Fatal(err)
	}
	book, now := presence.NewBook(), time.Now()
	for i, n := range nodes {
		book.Saw(n.ID, presence.Sight{At: now})
		if i%100 == 0 {
			if _, err := l.SetNode(ctx, n.ID.String(), policy.Change{Labels: map[string]string{"site": "oslo"}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := book.Write(func(do func(*ledger.Txn) error) error { return l.Update(context.Background(), do) }, now, time.Minute); err != nil {
		b.Fatal(err)
	}
	if n, err := l.Node(nodes[0].ID.String()); err != nil || n.Beat.IsZero() {
		b.Fatalf("the beats are not seen: %v, %v", n.Beat, err)
	}

	person, top := l.browser(nil).in(admin.ScopeRead), l.token("top", admin.ScopeRead)
	out, err := l.CreateToken(ctx, admin.NewToken{Name: "oslo", Scope: admin.ScopeRead, Expires: now.Add(time.Hour), Labels: admin.Reach{"site=oslo"}})
	if err != nil {
		b.Fatal(err)
	}
	oslo := "Bearer " + out.Secret
	for _, path := range []string{"/machines", "/machines?q=zzz", "/machines/waiting"} {
		b.Run("page"+path, func(b *testing.B) {
			before := processor(b)
			for b.Loop() {
				if status, _, _ := person.send(http.MethodGet, path, "none", nil); status != 200 {
					b.Fatalf("status %d", status)
				}
			}
			b.ReportMetric(float64((processor(b)-before).Milliseconds())/float64(b.N), "cpu-ms/look")
		})
	}
	for name, token := range map[string]string{"top": top, "bounded": oslo} {
		for _, path := range []string{"/v1/nodes/page?limit=200", "/v1/audit/search?limit=50&since=" + now.Add(-5*time.Minute).UTC().Format(time.RFC3339)} {
			b.Run(name+path[:14], func(b *testing.B) {
				before := processor(b)
				for b.Loop() {
					if status := l.status("GET", path, token, nil); status != 200 {
						b.Fatalf("status %d", status)
					}
				}
				b.ReportMetric(float64((processor(b)-before).Milliseconds())/float64(b.N), "cpu-ms/look")
			})
		}
	}
}
