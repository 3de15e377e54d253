package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// started runs a responder on the peer and returns its log, and what ends
// it.
func (l lan) started(t *testing.T, args ...string) (log *buffer, stop func()) {
	t.Helper()
	log = &buffer{}
	cmd := l.Command("env", responder(t, nil, args...)...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return log, stop
}

// Of two responders for one KMS one is stopped: the KMS is not gone for a
// moment. faults/network.md D3.
func TestTwoResponders(t *testing.T) {
	l := newLAN(t, byName)
	args := []string{"--interface", "lan0", "--target", "192.0.2.5:8443", "--check", "off"}
	_, stop := l.started(t, args...)
	l.started(t, append(args, "--listen", "127.0.0.1:9741")...)
	l.finds(t, "192.0.2.5:8443")
	testlan.Await(t, "the second responder's announcement", func() bool { return l.sent() > 0 })
	stop()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if got := l.find(100 * time.Millisecond); got != "192.0.2.5:8443" {
			t.Fatalf("after one of two has stopped: %s", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Two key servers of one name, each with a responder: both are found under
// it. faults/network.md D10.
func TestTwoServersOfOneName(t *testing.T) {
	l := newLAN(t, byName)
	l.started(t, "--interface", "lan0", "--target", "192.0.2.5:8443", "--check", "off")
	l.finds(t, "192.0.2.5:8443")
	log, _ := l.started(t, "--interface", "lan0", "--target", "192.0.2.6:8443", "--check", "off")
	l.finds(t, "192.0.2.6:8443")
	l.finds(t, "192.0.2.5:8443")
	if !strings.Contains(log.String(), "another key server answers for this name, too; sharing it") {
		t.Errorf("the second does not say that it shares the name:\n%s", log.String())
	}
}

// A KMS on the responder's own machine, checked and found at the link's own
// address.
func TestThisMachine(t *testing.T) {
	l := newLAN(t, byName)
	log, _ := l.started(t, "--interface", "lan*", "--target", ":8443", "--check", "tcp", "--check-every", "1s")
	testlan.Await(t, "the check", func() bool {
		return strings.Contains(log.String(), `msg="target is not responding; not announcing it" target=:8443`)
	})
	exe := responder(t, nil)[1]
	l.Start("env", serveEnv+"=192.0.2.1:8443", exe)
	l.finds(t, "192.0.2.1:8443")
}

const serveEnv = "LATCHKEY_TEST_SERVE"

// serve is an HTTP server that knows no page.
func serve(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return http.Serve(listener, http.NotFoundHandler())
}

// --interface names a link that comes later: that is said, and it is answered
// on when it is there. faults/field.md P18.
func TestLinkThatComesLater(t *testing.T) {
	l := newLAN(t, byName)
	log, _ := l.started(t, "--interface", "eth9", "--target", "192.0.2.5:8443", "--check", "off")
	testlan.Await(t, "the warning", func() bool {
		return strings.Contains(log.String(), "this machine has no such link; waiting for it") && strings.Contains(log.String(), "links=lo,lan0")
	})
	l.Run("ip", "link", "set", "lan0", "down")
	l.Run("ip", "link", "set", "lan0", "name", "eth9")
	l.Run("ip", "link", "set", "eth9", "up")
	l.finds(t, "192.0.2.5:8443")
	if !strings.Contains(log.String(), "links=eth9") {
		t.Errorf("the log does not say that it answers on eth9:\n%s", log.String())
	}
}

// The cable is pulled and plugged in again: all is announced again at once,
// also if only the other end noticed. faults/network.md D5.
func TestCable(t *testing.T) {
	l := newLAN(t, byName)
	l.started(t, "--interface", "lan0", "--target", "192.0.2.5:8443", "--check", "off", "--listen", "127.0.0.1:9741")
	l.finds(t, "192.0.2.5:8443")
	// Without a change the next announcements come 4 and 12 s after the third
	// one of both IP versions.
	testlan.Await(t, "the first announcements", func() bool { return l.sent() >= 6 })
	before := l.sent()
	testlan.Run(t, "ip", "link", "set", "eth0", "down")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	testlan.Await(t, "more announcements", func() bool { return l.sent() >= before+5 })
}

// sent is how many messages the responder with --listen says it has sent; 0
// if it does not say so yet.
func (l lan) sent() int {
	out, err := l.Command("env", responder(l.t, nil, "status", "--json")...).Output()
	var r report
	if err != nil || json.Unmarshal(out, &r) != nil {
		return 0
	}
	return int(r.Stats.Answers)
}

// An Ingress, from the flag to the machine.
func TestIngress(t *testing.T) {
	l := newLAN(t, discover.Query{Services: []string{"_latchkey._tcp"}})
	listener, err := net.Listen("tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, listener)
	a.object = kubeIngress("{}", `{"ip":"192.0.2.7"}`)
	proxy(t, l, netip.MustParseAddrPort(listener.Addr().String()).Port())
	l.Start("env", responder(t, pod, "--interface", "lan0", "--kubernetes-ingress", "keys/kms", "--kubernetes-account", a.account(t, t.TempDir()), "--check", "off")...)
	l.finds(t, "192.0.2.7:443")
}
