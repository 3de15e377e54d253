package server_test

import (
	"errors"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
)

// TestSiteBoundsAreSet: other bounds hold once the site has heard of them; what
// is not said stays, and what is no bound changes nothing.
func TestSiteBoundsAreSet(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		s, err := l.Sites.SetBounds(ctx, "berlin", site.Bounds{Releases: 1})
		want := site.Bounds{Offline: usualBounds.Offline, Releases: 1, Machines: usualBounds.Machines, InAll: usualBounds.Machines}
		if err != nil || s.Bounds != want {
			t.Fatalf("SetBounds = %+v, %v, want %+v", s.Bounds, err, want)
		}
		for _, bad := range []site.Bounds{{Offline: policy.Duration(31 * 24 * time.Hour)}, {Releases: -1}, {InAll: 200_000}} {
			if s, err := l.Sites.SetBounds(ctx, "berlin", bad); err == nil {
				t.Errorf("SetBounds of %+v gave %+v", bad, s.Bounds)
			}
		}
		if _, err := l.Sites.SetBounds(ctx, "paris", site.Bounds{Releases: 1}); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("SetBounds of no site = %v, want %v", err, ledger.ErrNotFound)
		}
		l.until("the site hears of its bounds", func() bool {
			var self site.Self
			l.site.Read(func(v ledger.View) (err error) { self, _, err = site.SelfOf(v); return err })
			return self.Bounds == want
		})
		l.cut()
		for i, from := range []string{"site", "nobody"} {
			if got := l.gives(tpm); got != from {
				t.Errorf("unlock %d came from %s, want %s", i+1, got, from)
			}
		}
	})
}
