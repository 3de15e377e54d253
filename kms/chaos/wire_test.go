package chaos_test

import (
	"net"
	"sync"
	"testing"
)

// A wire passes connections on while it is whole. A cut one ends them; a
// silent one takes bytes and brings none.
type wire struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	change *sync.Cond
	cut    bool
	silent bool
	conns  map[net.Conn]bool
	all    sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to, conns: map[net.Conn]bool{}}
	w.change = sync.NewCond(&w.mu)
	w.all.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.set(true, false)
		w.all.Wait()
	})
	return w
}

func (w *wire) address() string { return w.l.Addr().String() }

// set cuts the wire or mends it, silences it or lets it speak.
func (w *wire) set(cut, silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.silent = cut, silent
	for c := range w.conns {
		if cut {
			c.Close()
		}
	}
	w.change.Broadcast()
}

func (w *wire) accept() {
	for {
		near, err := w.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			near.Close()
			continue
		}
		if !w.hold(near, far) {
			continue
		}
		w.all.Go(func() { w.pass(far, near) })
		w.all.Go(func() { w.pass(near, far) })
	}
}

// hold keeps connections until they end, if the wire is not cut.
func (w *wire) hold(both ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range both {
		if w.cut {
			c.Close()
			continue
		}
		w.conns[c] = true
	}
	return !w.cut
}

func (w *wire) pass(to, from net.Conn) {
	defer func() {
		to.Close()
		from.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		for w.silent && !w.cut {
			w.change.Wait()
		}
		w.mu.Unlock()
		if _, bad := to.Write(buffer[:n]); err != nil || bad != nil {
			return
		}
	}
}
