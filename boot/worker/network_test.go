package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/boot/wire"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/netup"
)

// alone is a System whose network nobody else is on.
type alone struct {
	clock
	left *[]netup.Link
}

func (alone) Sockets() discover.Sockets { return deaf{} }

func (a alone) Network(ctx context.Context, _ plan.Net, _ *slog.Logger, update func([]netup.Link)) error {
	<-ctx.Done()
	return nil
}

func (a alone) Leave(_ plan.Net, links []netup.Link, _ *slog.Logger) error {
	*a.left = links
	return nil
}

// noModules is a Loader for a kernel that has all built in.
type noModules struct{}

func (noModules) Named(...string) {}
func (noModules) Device(string)   {}
func (noModules) Hold(bool)       {}
func (noModules) Release()        {}

type deaf struct{}

func (deaf) Multicast(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Group(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Direct(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Dial(context.Context, discover.Interface, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func newNetwork(t *testing.T, find plan.Find, sources ...string) (*network, *sent, *[]netup.Link) {
	t.Helper()
	socket, left := &sent{}, &[]netup.Link{}
	w := &worker{
		loader: noModules{}, sys: alone{clock{began: time.Now()}, left}, conn: wire.NewConn(socket), log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		plan: &plan.Plan{Find: find, Volumes: []plan.Volume{{Name: "root", Sources: sources}}},
	}
	n := w.startNetwork(t.Context())
	t.Cleanup(func() { n.cancel(); <-n.done })
	return n, socket, left
}

var oneURL = plan.Find{URLs: []string{"http://192.0.2.1:7741"}}

func link(up bool, addrs ...string) netup.Link {
	l := netup.Link{Index: 2, Name: "eth0", Up: up}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

// Where the search stands is told in words that name what is missing.
func TestStanding(t *testing.T) {
	n, _, _ := newNetwork(t, oneURL, "kms")
	for _, row := range []struct {
		links []netup.Link
		want  string
	}{
		{nil, "no key server found: no link is up"},
		{[]netup.Link{link(false, "192.0.2.9/24")}, "no key server found: no link is up"},
		{[]netup.Link{link(true)}, "no key server found: no link has an address"},
		{[]netup.Link{link(true, "192.0.2.9/24", "fe80::1/64")}, "no key server found from 192.0.2.9/24, fe80::1/64"},
	} {
		n.update(row.links)
		if got := n.standing("key server"); got != row.want {
			t.Errorf("standing = %q, want %q", got, row.want)
		}
	}
	select {
	case <-n.linked:
	default:
		t.Error("a link is up, and the slow drivers do not hear of it")
	}
}

// The step net is the first address that reaches beyond its link.
func TestNetNoted(t *testing.T) {
	n, socket, _ := newNetwork(t, oneURL, "kms")
	n.update([]netup.Link{link(true, "fe80::1/64")})
	n.update([]netup.Link{link(true, "fe80::1/64", "192.0.2.9/24")})
	n.update([]netup.Link{link(true, "fe80::1/64", "192.0.2.9/24", "2001:db8::9/64")})
	if len(socket.records) != 1 || socket.records[0].Text != "eth0 192.0.2.9/24" {
		t.Errorf("said %+v, want the step net with 192.0.2.9/24 alone", socket.records)
	}
}

// A candidate that is not ours waits 30 s, one that cannot be reached 1 s,
// 2 s, … 30 s, and gets another chance with each new address.
func TestSetAside(t *testing.T) {
	n, _, _ := newNetwork(t, oneURL, "kms")
	c := discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.1:7741")}
	for _, row := range []struct {
		code string
		want time.Duration
	}{
		{kms.CodeWrongPin, 30 * time.Second},
		{kms.CodeBadAnswer, 30 * time.Second},
		{kms.CodeUnreachable, time.Second},
		{kms.CodeBusy, 2 * time.Second},
		{kms.CodeNoGrant, 4 * time.Second},
		{kms.CodeUnreachable, 8 * time.Second},
		{kms.CodeUnreachable, 16 * time.Second},
		{kms.CodeUnreachable, 30 * time.Second},
		{kms.CodeUnreachable, 30 * time.Second},
	} {
		if got := n.setAside(c, row.code); got != row.want {
			t.Errorf("setAside for %s = %s, want %s", row.code, got, row.want)
		}
	}

	if len(n.waiting) != 1 {
		t.Fatalf("%d candidates wait for another address, want 1", len(n.waiting))
	}
	n.update([]netup.Link{link(true, "192.0.2.9/24")})
	if len(n.waiting) != 0 {
		t.Error("a new address gives no other chance")
	}
	n.setAside(c, kms.CodeUnreachable)
	if n.retaken(c); len(n.waiting) != 0 {
		t.Error("a candidate that is being asked still waits")
	}
}

// Whoever makes candidates up all day fills no memory.
func TestSetAsideIsBounded(t *testing.T) {
	n, _, _ := newNetwork(t, oneURL, "kms")
	for i := range 5 * mostRemembered {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 7741)
		n.setAside(discover.Candidate{Addr: at}, kms.CodeUnreachable)
	}
	if len(n.failures) > mostRemembered || len(n.waiting) > mostRemembered {
		t.Errorf("%d failures and %d waiting are remembered, want at most %d", len(n.failures), len(n.waiting), mostRemembered)
	}
}

// A link without an address of the candidate's kind is not asked over.
func TestWay(t *testing.T) {
	n, _, _ := newNetwork(t, oneURL, "kms")
	c := discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.1:7741"), Link: "eth0"}
	n.update([]netup.Link{link(true, "fe80::1/64")})
	if l, ok := n.way(c); ok {
		t.Errorf("way = %q, want none before there is an IPv4 address", l)
	}
	n.update([]netup.Link{link(true, "fe80::1/64", "192.0.2.9/24")})
	n.failures = map[netip.AddrPort]int{}
	if l, ok := n.way(c); !ok || l != "eth0" {
		t.Errorf("way = %q, %t, want eth0", l, ok)
	}
}

// A plan that asks no KMS leaves the links alone; one whose entries are
// all bad says so, and a person may still help (faults/field.md P1).
func TestNoNetwork(t *testing.T) {
	n, socket, left := newNetwork(t, oneURL, "prompt")
	n.leave()
	if n.used || len(*left) != 0 || len(socket.records) != 0 {
		t.Errorf("used: %t, left %v, said %v, want nothing", n.used, *left, socket.records)
	}

	n, socket, _ = newNetwork(t, plan.Find{URLs: []string{"ftp://x"}, Services: []string{"x"}}, "kms")
	if n.err == nil || n.used {
		t.Errorf("used: %t, err %v, want an error", n.used, n.err)
	}
	var said []string
	for _, r := range socket.records {
		said = append(said, r.Code+" "+r.Text)
	}
	if text := strings.Join(said, "\n"); len(said) != 2 || !strings.Contains(text, `kms-bad-url find.urls[0] "ftp://x" is left out`) || !strings.Contains(text, `find.services[0] "x"`) {
		t.Errorf("said %q, want both entries named", said)
	}
}

// The links go back with what is known of them.
func TestLeave(t *testing.T) {
	n, _, left := newNetwork(t, oneURL, "kms")
	n.update([]netup.Link{link(true, "192.0.2.9/24")})
	n.leave()
	if len(*left) != 1 || (*left)[0].Name != "eth0" {
		t.Errorf("left %v, want eth0", *left)
	}
}
