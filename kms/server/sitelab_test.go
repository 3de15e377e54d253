package server_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
	"latchkey/kms/softtpm"
	"latchkey/kms/store/bolt"
)

// A siteLab is a center and the server of its site berlin, in a synctest
// bubble, with a wire between them that can be cut.
type siteLab struct {
	*fixture // the center
	site     *fixture
	wire     *siteWire
	file     site.JoinFile
	stops    []func()
}

// siteWire is a network in memory that can be cut.
type siteWire struct {
	*pipes
	mu    sync.Mutex
	gone  bool
	ends  []net.Conn
	spoil func(net.Conn) net.Conn // what stands on the wire
	to    *pipes                  // where it leads; nil: to the center
}

// lead has the wire lead elsewhere from now on.
func (w *siteWire) lead(to *pipes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone, w.to = false, to
}

func (w *siteWire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	gone, spoil, to := w.gone, w.spoil, cmp.Or(w.to, w.pipes)
	w.mu.Unlock()
	if gone {
		return nil, errors.New("no route to host")
	}
	c, err := to.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = append(w.ends, c)
	if spoil != nil {
		return spoil(c), nil
	}
	return c, nil
}

// cut cuts the wire: what is open ends, and nothing new comes up.
func (w *siteWire) cut(gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = gone
	if gone {
		for _, c := range w.ends {
			c.Close()
		}
		w.ends = nil
	}
}

// usualBounds are those of the tests' site.
var usualBounds = site.Bounds{Offline: policy.Duration(2 * time.Hour), Releases: 3, Machines: 2}

// inSite runs a test in a bubble, with a site that has joined.
func inSite(t *testing.T, f func(*testing.T, *siteLab)) { inSiteOf(t, usualBounds, f) }

func inSiteOf(t *testing.T, bounds site.Bounds, f func(*testing.T, *siteLab)) {
	synctest.Test(t, func(t *testing.T) {
		l := newSiteLab(t, bounds)
		l.up()
		f(t, l)
	})
}

func newSiteLab(t *testing.T, bounds site.Bounds) *siteLab {
	l := &siteLab{fixture: newKMS(t, inMemory), wire: &siteWire{pipes: newPipes()}}
	web := &http.Server{Handler: l.SitesHandler(), TLSConfig: l.Sites.TLS(), ErrorLog: slog.NewLogLogger(discard.Handler(), slog.LevelDebug)}
	go web.Serve(tls.NewListener(l.wire, web.TLSConfig))
	ctx, stop := context.WithCancel(context.Background())
	go l.Sites.Follow(ctx)
	t.Cleanup(func() {
		l.stop()
		l.wire.cut(true)
		stop()
		web.Close()
		l.wire.Close()
	})
	var err error
	l.file, err = l.Sites.Add(ctx, site.NewSite{Name: "berlin", Labels: map[string]string{"site": "berlin"}, Bounds: bounds, Center: []string{"center:7744"}})
	if err != nil {
		t.Fatal(err)
	}
	l.site = l.join(l.file)
	l.follow()
	return l
}

// join makes a server of a join file.
func (l *siteLab) join(file site.JoinFile) *fixture {
	l.t.Helper()
	f := &fixture{t: l.t, dir: l.t.TempDir(), wrapping: secret.Random(32), pipe: newPipes(), center: l.wire.dial}
	db, err := bolt.Open(f.path(), true, server.Tables())
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := ledger.Initialize(ctx, db, f.wrapping, f.mark()); err != nil {
		l.t.Fatal(err)
	}
	s, err := server.Open(server.Config{Store: db, Wrapping: f.wrapping, Mark: f.mark()})
	if err == nil {
		err = errors.Join(site.Become(ctx, s.Ledger, file), s.Close())
	}
	if err == nil {
		err = f.start()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

// follow starts what follows the center; stop ends it.
func (l *siteLab) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.site.Follower.Follow(ctx); close(done) }()
	l.stops = append(l.stops, func() { cancel(); <-done })
}

func (l *siteLab) stop() {
	for _, stop := range l.stops {
		stop()
	}
	l.stops = nil
}

// restart ends the site's server, does something to its files, and starts it
// again.
func (l *siteLab) restart(between func()) {
	l.t.Helper()
	l.open(between)
	l.follow()
}

// open is restart, without what follows the center.
func (l *siteLab) open(between func()) {
	l.t.Helper()
	l.stop()
	l.site.web.Close()
	if err := l.site.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.site.pipe = newPipes()
	between()
	if err := l.site.start(); err != nil {
		l.t.Fatal(err)
	}
}

// until waits, in the bubble's time, for something that must come.
func (l *siteLab) until(what string, is func() bool) {
	l.t.Helper()
	for range 6000 {
		synctest.Wait()
		if is() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.t.Fatalf("after ten minutes it has not come: %s (the wire is %s)", what, l.site.Follower.Wire())
}

// up waits until the site has heard and told everything.
func (l *siteLab) up() {
	l.t.Helper()
	l.until("the site is up and current", func() bool {
		all, err := l.Sites.List("berlin")
		return err == nil && l.site.Follower.Wire() == "up" && all[0].Copies == "current" && all[0].Behind == 0
	})
}

// cut cuts the wire and waits until the site has noticed.
func (l *siteLab) cut() {
	l.t.Helper()
	l.wire.cut(true)
	l.until("the site notices the cut", func() bool { return l.site.Follower.Wire() == "cut" })
}

// machine is one of the site, approved, with a volume of its own, which got
// its keys once through the site's server.
func (l *siteLab) machine(uuid kms.UUID, labels map[string]string) *softtpm.TPM {
	l.t.Helper()
	if err := l.PutVolume(ctx, uuid, secret.Own([]byte(canary))); err != nil {
		l.t.Fatal(err)
	}
	tpm := newTPM(l.t)
	l.approve(tpm, uuid)
	if labels != nil {
		if _, err := l.SetNode(ctx, tpm.NodeID().String(), policy.Change{Labels: labels}); err != nil {
			l.t.Fatal(err)
		}
	}
	if _, err := l.ask(tpm, uuid); err != nil {
		l.t.Fatal(err)
	}
	l.up()
	return tpm
}

var ofBerlin = map[string]string{"site": "berlin"}

// ask asks the site's server as its machines do: their images pin both keys.
func (l *siteLab) ask(tpm kms.Prover, uuids ...kms.UUID) (kms.Pin, error) {
	c := &kms.Client{Pins: slices.Concat(l.Pins(), l.site.Pins()), Dial: l.site.pipe.dial}
	g, err := c.Get(context.Background(), l.site.url, tpm, wants(uuids...))
	if err != nil {
		return kms.Pin{}, err
	}
	defer g.Wipe()
	for _, v := range g.Volumes {
		if v.Status != kms.OK || string(v.Active.Secret.Reveal()) != canary {
			return g.Pin, errors.New(v.Status.Code())
		}
	}
	return g.Pin, nil
}

// gives tells whether a machine gets its key, and from whom: center, site, or
// nobody.
func (l *siteLab) gives(tpm kms.Prover, uuids ...kms.UUID) string {
	pin, err := l.ask(tpm, uuids...)
	switch {
	case err != nil:
		l.t.Logf("nobody: %v", err)
		return "nobody"
	case pin == l.Pins()[0]:
		return "center"
	}
	return "site"
}

// merged are the events of the site in the center's log.
func (l *siteLab) merged(name string) (events []ledger.Event) {
	l.t.Helper()
	err := l.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool {
			if strings.HasPrefix(e.Event, name) {
				events = append(events, e)
			}
			return true
		})
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return events
}

func (l *siteLab) siteFile() string { return filepath.Join(l.site.dir, "kms.db") }
