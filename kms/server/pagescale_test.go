package server_test

import (
	"net/http"
	"testing"

	"latchkey/kms/admin"
)

// BenchmarkPageList is what one look at the list costs the server, with
// 10,000 machines: HTTPS, session, page and all.
func BenchmarkPageList(b *testing.B) {
	l := newPages(b, nil)
	l.fill(10_000)
	person := l.browser(nil).in(admin.ScopeRead)
	for _, path := range []string{"/machines", "/machines?q=zzz", "/machines/waiting", "/audit"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if status, _, _ := person.send(http.MethodGet, path, "none", nil); status != 200 {
					b.Fatalf("status %d", status)
				}
			}
		})
	}
}
