package discover_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// Of those that announce a service only the host that was named counts, in
// any case, and by its own port.
func TestServicesOfOneHost(t *testing.T) {
	for _, row := range []struct{ host, want string }{
		{"kms.local", "192.0.2.5:30000"},
		{"KMS.local.", "192.0.2.5:30000"},
		{"", "both"},
		{"third.local", "none"},
	} {
		bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
			for n, host := range map[byte]string{5: "kms.local", 6: "other.local"} {
				at(lan, n).answer(t, ctx, discover.Announcement{Host: host, Addrs: []netip.Addr{at(lan, n).addr}, Port: 30000, Services: []string{"_kcrypt._tcp"}})
			}
			f := at(lan, 10).find(t, ctx, discover.Query{Services: []string{"_kcrypt._tcp"}, Host: row.host})
			got := map[string]bool{}
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				next, cancel := context.WithDeadline(ctx, end)
				c, err := f.Next(next)
				cancel()
				if err == nil {
					got[c.Addr.String()] = true
				}
			}
			both := got["192.0.2.5:30000"] && got["192.0.2.6:30000"]
			if row.want == "both" && !both || row.want == "none" && len(got) > 0 || row.want == "192.0.2.5:30000" && (len(got) != 1 || !got[row.want]) {
				t.Errorf("host %q: found %v, want %s", row.host, got, row.want)
			}
		})
	}
}
