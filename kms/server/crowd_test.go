package server_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/fleet"
	"latchkey/kms/store/etcd"
	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/mirror"
)

// A crowd is three key servers on one etcd, of which one dies now and then:
// its answers are lost, and its last words to etcd may yet arrive.
type crowd struct {
	t        *testing.T
	etcd     *etcdtest.Server
	wrapping secret.Bytes
	pins     []kms.Pin

	copies  sync.WaitGroup
	graves  sync.WaitGroup
	granted sync.Map // by machine: *atomic.Int64

	mu      sync.Mutex
	members [3]*mortal
}

// A mortal is one server, its way to etcd, and whether it lives.
type mortal struct {
	*server.Server
	dead chan struct{} // closed when it does not live any more
	wire *cutWire
}

// do has a server do something; false means that it died meanwhile, and
// nobody hears what came of it.
func (m *mortal) do(f func()) bool {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-m.dead:
		return false
	case <-done:
		return true
	}
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, etcd: etcdtest.Start(t)}
	f := newKMSOn(t, openEtcd(t, c.etcd))
	c.wrapping, c.pins = f.wrapping, f.Pins()
	for i := range c.members {
		c.members[i] = c.start()
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			c.bury(m)
		}
		c.graves.Wait()
	})
	return c
}

func (c *crowd) start() *mortal {
	m := &mortal{dead: make(chan struct{}), wire: newCutWire(c.t, strings.TrimPrefix(c.etcd.URL, "https://"))}
	db, err := etcd.Open(ctx, etcd.Config{
		Endpoints: []string{"https://" + m.wire.Addr().String()}, TLS: c.etcd.TLS(c.t), Prefix: "kms",
		Config: mirror.Config{Tables: server.Tables(), Logs: server.LogTables(), Passing: server.PassingTables(), Wait: 4 * time.Second},
	})
	if err != nil {
		c.t.Error(err)
		return nil
	}
	mark := ledger.MarkFile(c.t.TempDir() + "/epoch")
	mark.Write(ledger.Position{})
	if m.Server, err = server.Open(server.Config{Store: db, Shared: true, Wrapping: c.wrapping, Mark: mark, Enroll: fleet.Approve, Log: discard}); err != nil {
		c.t.Error(err)
		return nil
	}
	if err := m.Begin(ctx); err != nil {
		c.t.Error(err)
	}
	return m
}

// kill ends one server in the middle of what it does; another takes its
// place.
func (c *crowd) kill(i int) {
	m := c.member(i)
	c.bury(m)
	next := c.start()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[i] = next
}

// bury ends a server: nobody hears it any more, and nobody waits for it.
func (c *crowd) bury(m *mortal) {
	close(m.dead)
	m.wire.cut()
	c.graves.Go(func() { m.Close() })
}

func (c *crowd) member(i int) *mortal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[i]
}

// ServeHTTP is the balancer: any server answers. What a dead one says is
// lost.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := c.member(rand.IntN(len(c.members)))
	answer := &kept{header: http.Header{}}
	body, err := io.ReadAll(r.Body)
	if r.URL.Path == kms.RedeemPath && rand.IntN(3) == 0 {
		other := c.member(rand.IntN(len(c.members)))
		c.copies.Go(func() { other.do(func() { post(other.Handler(), kms.RedeemPath, body) }) }) // whoever comes first
	}
	ours := r.Clone(context.WithoutCancel(r.Context()))
	ours.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || !m.do(func() { m.Handler().ServeHTTP(answer, ours) }) {
		panic(http.ErrAbortHandler)
	}
	for key, values := range answer.header {
		w.Header()[key] = values
	}
	w.WriteHeader(max(answer.status, http.StatusOK))
	w.Write(answer.body)
}

// kept is an answer that is not sent yet.
type kept struct {
	header http.Header
	status int
	body   []byte
}

func (k *kept) Header() http.Header { return k.header }
func (k *kept) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

func (k *kept) Write(b []byte) (int, error) {
	k.body = append(k.body, b...)
	return len(b), nil
}

// A cutWire passes connections on to etcd until it is cut.
type cutWire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newCutWire(t testing.TB, to string) *cutWire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &cutWire{Listener: l}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, near, far)
			w.mu.Unlock()
			go io.Copy(far, near)
			go io.Copy(near, far)
		}
	}()
	return w
}

func (w *cutWire) cut() {
	w.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
}

// verify: the log has every release, and once; and the store is whole.
func (c *crowd) verify(t *testing.T) {
	c.copies.Wait()
	m := c.member(0)
	if _, err := m.Check(); err != nil {
		t.Error(err)
	}
	seen, logged := map[string]bool{}, map[string]int64{}
	err := m.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool {
			if e.Event != "get" || e.Status != "ok" {
				return true
			}
			if seen[e.TH2] {
				t.Errorf("challenge %s was redeemed twice", e.TH2)
			}
			seen[e.TH2] = true
			logged[e.Node]++
			return true
		})
	})
	if err != nil || len(seen) == 0 {
		t.Errorf("the log has %d releases, %v", len(seen), err)
	}
	c.granted.Range(func(id, n any) bool {
		if got := n.(*atomic.Int64).Load(); got > logged[id.(string)] {
			t.Errorf("machine %s was given its keys %d times, and the log has %d", id, got, logged[id.(string)])
		}
		return true
	})
}
