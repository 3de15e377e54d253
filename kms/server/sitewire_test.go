package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/softtpm"
)

// meanwhile does something after a challenge was opened and before it is
// redeemed.
type meanwhile struct {
	*softtpm.TPM
	do func()
}

// Quote implements kms.Prover.
func (b meanwhile) Quote(ctx context.Context, pcrs []int, extra []byte) (kms.Quote, error) {
	b.do()
	return b.TPM.Quote(ctx, pcrs, extra)
}

// TestSiteSpendsOnce: what one of the two began, the other does not end, and
// a challenge is good once.
func TestSiteSpendsOnce(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		if got := l.gives(meanwhile{tpm, func() { l.wire.cut(true) }}); got != "nobody" {
			t.Errorf("a challenge of the center, redeemed when the wire is cut, gave a key: %s", got)
		}
		l.cut()
		back := func() {
			l.wire.cut(false)
			l.until("it is back", func() bool { return l.site.Follower.Wire() == "up" })
		}
		if got := l.gives(meanwhile{tpm, back}); got != "nobody" {
			t.Errorf("a challenge of the site, redeemed when the wire is back, gave a key: %s", got)
		}

		l.cut()
		sent := &tee{dial: l.site.pipe.dial}
		c := &kms.Client{Pins: l.site.Pins(), Dial: sent.to}
		g, err := c.Get(ctx, l.site.url, tpm, wants())
		if err != nil {
			t.Fatal(err)
		}
		g.Wipe()
		m3 := sent.body(kms.RedeemPath)
		l.wire.cut(false)
		l.up()
		for name, to := range map[string]*fixture{"center": l.fixture, "site": l.site} {
			web := &http.Client{Transport: &http.Transport{DialContext: to.pipe.dial, DisableKeepAlives: true}}
			reply, err := web.Post(to.url+kms.RedeemPath, "application/octet-stream", bytes.NewReader(m3))
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if name == "center" && reply.StatusCode != http.StatusForbidden {
				t.Errorf("the center answers a challenge of the site with status %d", reply.StatusCode)
			}
		}
		l.up()
		if got := len(l.merged("site get")); got != 1 {
			t.Errorf("the site gave %d times, want once", got)
		}
	})
}

// tee keeps what is written to connections.
type tee struct {
	dial func(context.Context, string, string) (net.Conn, error)
	mu   sync.Mutex
	sent bytes.Buffer
}

func (s *tee) to(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.dial(ctx, network, address)
	return teeConn{c, s}, err
}

// body is that of the request to a path.
func (s *tee) body(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, request, _ := bytes.Cut(s.sent.Bytes(), []byte("POST "+path))
	_, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	return bytes.Clone(body)
}

type teeConn struct {
	net.Conn
	s *tee
}

// Write implements net.Conn.
func (c teeConn) Write(b []byte) (int, error) {
	c.s.mu.Lock()
	c.s.sent.Write(b)
	c.s.mu.Unlock()
	return c.Conn.Write(b)
}

// brittle is a connection that ends after so many bytes, in the middle of
// what is said.
type brittle struct {
	net.Conn
	mu   *sync.Mutex
	left *int
}

func (b brittle) spend(p []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), *b.left)
	*b.left -= n
	return p[:n]
}

// Read implements net.Conn.
func (b brittle) Read(p []byte) (int, error) {
	if p = b.spend(p[:min(len(p), 512)]); len(p) == 0 {
		b.Close()
		return 0, net.ErrClosed
	}
	return b.Conn.Read(p)
}

// Write implements net.Conn.
func (b brittle) Write(p []byte) (int, error) {
	part := b.spend(p)
	n, err := b.Conn.Write(part)
	if err == nil && n < len(p) {
		b.Close()
		err = net.ErrClosed
	}
	return n, err
}

// TestSiteWireBreaksAnywhere: wherever the wire breaks, each unlock at the
// site is in the center's log once, in its order.
func TestSiteWireBreaksAnywhere(t *testing.T) {
	bounds := usualBounds
	bounds.Releases = 100 // a wire that breaks each time begins no bound anew
	inSiteOf(t, bounds, func(t *testing.T, l *siteLab) {
		tpm := l.machine(root, ofBerlin)
		gave := 0
		for length := 500; length < 20_000; length += 1300 {
			l.cut()
			tpm.Reset++
			if got := l.gives(tpm); got != "site" {
				t.Errorf("the key came from %s, want site", got)
			}
			gave++
			l.wire.mu.Lock()
			l.wire.spoil = func(c net.Conn) net.Conn { left := length; return brittle{c, &sync.Mutex{}, &left} }
			l.wire.mu.Unlock()
			l.wire.cut(false)
			time.Sleep(20 * time.Second)
			l.wire.mu.Lock()
			l.wire.spoil = nil
			l.wire.mu.Unlock()
		}
		l.cut()
		l.wire.cut(false)
		l.up()
		l.carried(gave)
	})
}

// carried compares the logs of site and center: all that the site noted is
// there, once, in its order, and so many unlocks among it.
func (l *siteLab) carried(gave int) {
	l.t.Helper()
	var want []string
	err := l.site.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool {
			want = append(want, fmt.Sprintf("site %s %d", e.Event, e.Seq))
			return true
		})
	})
	if err != nil {
		l.t.Fatal(err)
	}
	var got []string
	unlocks := 0
	for _, e := range l.merged("site ") {
		_, number, found := strings.Cut(e.Detail, "berlin, event ")
		if !found {
			continue // of the site, by the center
		}
		number, _, _ = strings.Cut(number, " ")
		got = append(got, e.Event+" "+number)
		if e.Event == "site get" && e.Status == "ok" {
			unlocks++
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		l.t.Errorf("the center has of the site:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if unlocks != gave {
		l.t.Errorf("the center has %d unlocks of the site, and %d were made", unlocks, gave)
	}
}
