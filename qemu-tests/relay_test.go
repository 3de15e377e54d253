package qemutests

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A relay stands between machine and KMS and can hold a proof back.
type relay struct {
	lan *lan

	mu   sync.Mutex
	gate chan struct{} // closed: everything passes
	held chan struct{}
}

// relay start: a relay at 192.0.2.1:7750 before the KMS. relay hold: from
// now on a machine's proof (redeem) does not get through. relay held waits
// for one. relay release lets it go.
func cmdRelay(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || (args[0] == "start") != (w.relay == nil) {
		ts.Fatalf("usage: relay start, then relay hold|held|release")
	}
	switch args[0] {
	case "start":
		ln, err := w.lan.listen("192.0.2.1:7750")
		ts.Check(err)
		ts.Defer(func() { ln.Close() })
		w.relay = &relay{lan: w.lan, gate: make(chan struct{}), held: make(chan struct{}, 100)}
		close(w.relay.gate)
		go w.relay.serve(ln)

	case "hold":
		w.relay.mu.Lock()
		w.relay.gate = make(chan struct{})
		w.relay.mu.Unlock()
	case "held":
		select {
		case <-w.relay.held:
		case <-time.After(patience):
			ts.Fatalf("no machine has sent its proof in %s", patience)
		}

	case "release":
		w.relay.mu.Lock()
		close(w.relay.gate)
		w.relay.mu.Unlock()
	default:
		ts.Fatalf("relay: there is no %q", args[0])
	}
}

func (r *relay) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go r.requests(c)
	}
}

// requests passes each request on, over a connection of its own: the KMS
// may be another process by then.
func (r *relay) requests(c net.Conn) {
	defer c.Close()
	for in := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.URL.Path == "/lk1/redeem" {
			r.wait()
		}
		if err := r.pass(req, c); err != nil {
			return
		}
	}
}

func (r *relay) wait() {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	select {
	case <-gate:
	default:
		r.held <- struct{}{}
		<-gate
	}
}

func (r *relay) pass(req *http.Request, back net.Conn) error {
	kms, err := r.lan.dial("192.0.2.1:7741")
	if err != nil {
		return err
	}
	defer kms.Close()
	if err := req.Write(kms); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(kms), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return resp.Write(back)
}
