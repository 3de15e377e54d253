package server_test

import (
	"slices"
	"testing"
	"time"

	"latchkey/kms"
)

// TestSiteGoesOn: while the wire is up the center decides everything; when it
// is cut the site's server gives a machine what it had, and when it is back
// the center knows of it.
func TestSiteGoesOn(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		if got := l.gives(tpm); got != "center" {
			t.Errorf("with the wire up the key came from %s, want center", got)
		}
		l.up()

		l.cut()
		tpm.Reset++
		for range 2 {
			if got := l.gives(tpm); got != "site" {
				t.Errorf("with the wire cut the key came from %s, want site", got)
			}
		}
		l.wire.cut(false)
		l.up()
		if got := len(l.merged("site get")); got != 2 {
			t.Errorf("the center heard of %d unlocks, want 2", got)
		}
		n, err := l.Node(tpm.NodeID().String())
		if err != nil || n.InBoot != 2 || n.Clock.Reset != tpm.Reset {
			t.Errorf("the center counts %d releases in boot %d, %v; want 2 in %d", n.InBoot, n.Clock.Reset, err, tpm.Reset)
		}
		if got := l.gives(tpm); got != "center" {
			t.Errorf("with the wire back the key came from %s, want center", got)
		}
	})
}

// TestSiteBounds: each bound ends what a site gives, and hearing the center
// begins anew.
func TestSiteBounds(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		one, two, three := l.machine(root, ofBerlin), l.machine(data, ofBerlin), l.machine(kms.UUID{3}, ofBerlin)
		l.cut()
		want := func(why string, tpm kms.Prover, uuid kms.UUID, from string) {
			t.Helper()
			if got := l.gives(tpm, uuid); got != from {
				t.Errorf("%s: the key came from %s, want %s", why, got, from)
			}
		}
		for range usualBounds.Releases {
			want("within the releases", one, root, "site")
		}
		want("one release too many", one, root, "nobody")
		want("within the machines", two, data, "site")
		want("one machine too many", three, kms.UUID{3}, "nobody")
		l.wire.cut(false)
		l.up()
		l.cut()
		want("a new cut", three, kms.UUID{3}, "site")
		time.Sleep(2*time.Hour - time.Minute)
		want("within the time", three, kms.UUID{3}, "site")
		time.Sleep(2 * time.Minute)
		want("after the time", three, kms.UUID{3}, "nobody")
	})
}

// TestSiteBoundInAll: the sum of releases is bounded, too.
func TestSiteBoundInAll(t *testing.T) {
	bounds := usualBounds
	bounds.InAll = 4
	inSiteOf(t, bounds, func(t *testing.T, l *siteLab) {
		one, two := l.machine(root, ofBerlin), l.machine(data, ofBerlin)
		l.cut()
		var got []string
		for range 3 {
			got = append(got, l.gives(one, root), l.gives(two, data))
		}
		if want := []string{"site", "site", "site", "site", "nobody", "nobody"}; !slices.Equal(got, want) {
			t.Errorf("keys came from %v, want %v", got, want)
		}
	})
}

// askSites asks the center's routes, well and badly.
func askSites(ask func(method, target, body string, want int)) {
	ask("POST", "/v1/site/add", `{"name":"lab","labels":{"site":"lab"},"center":["kms:7744"],"bounds":{"offline":"1h","releases":1,"machines":1,"in_all":1}}`, 200)
	ask("POST", "/v1/site/add", `{"name":"no labels","labels":{},"center":["kms:7744"],"bounds":{"offline":"1h","releases":1,"machines":1,"in_all":1}}`, 400)
	ask("GET", "/v1/sites?name=lab", "", 200)
	ask("POST", "/v1/site/bounds?name=lab", `{"offline":"2h","releases":2,"machines":0,"in_all":0}`, 200)
	ask("POST", "/v1/site/bounds?name=lab", `{"offline":"0s","releases":0,"machines":-1,"in_all":0}`, 400)
	ask("POST", "/v1/site/bounds?name=other", `{"offline":"2h","releases":0,"machines":0,"in_all":0}`, 404)
	ask("GET", "/v1/sites?name=other", "", 404)
	ask("POST", "/v1/site/remove?name=lab", "", 200)
	ask("POST", "/v1/site/remove?name=lab", "", 404)
}
