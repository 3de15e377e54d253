package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/ifwatch"
)

// machine is a kernel with links made up.
type machine struct {
	mu     sync.Mutex // over what follows
	links  []ifwatch.Link
	asleep time.Duration
	wake   chan struct{}
	asked  int
	fail   bool
	ended  chan struct{} // closed: no more events
}

func (m *machine) Watch(ctx context.Context) (<-chan struct{}, error) {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-m.ended:
				return
			case <-m.wake:
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out, nil
}

// change changes the machine between two looks at it.
func (m *machine) change(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *machine) Asleep() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asleep
}

func (m *machine) Links() ([]ifwatch.Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.fail {
		return nil, errors.New("no buffer space available")
	}
	return slices.Clone(m.links), nil
}

const running = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_MULTICAST | unix.IFF_BROADCAST

func addr(prefix string, flags uint32) ifwatch.Addr {
	return ifwatch.Addr{Prefix: netip.MustParsePrefix(prefix), Flags: flags}
}

// Each row is one link, and whether it counts without and with its name.
// faults/network.md D8.
func TestWhichLinks(t *testing.T) {
	lan := []ifwatch.Addr{addr("192.0.2.1/24", 0)}
	for _, row := range []struct {
		name  string
		link  ifwatch.Link
		ports []ifwatch.Link
		want  string // "always", "named" or "never"
	}{
		{"hardware", ifwatch.Link{Flags: running, Addrs: lan}, nil, "always"},
		{"hardware without address", ifwatch.Link{Flags: running}, nil, "always"},
		{"down", ifwatch.Link{Flags: running &^ unix.IFF_UP}, nil, "never"},
		{"no carrier", ifwatch.Link{Flags: running &^ unix.IFF_RUNNING}, nil, "never"},
		{"no multicast", ifwatch.Link{Flags: running &^ unix.IFF_MULTICAST}, nil, "never"},
		{"VLAN, IPoIB, DSA, Open vSwitch", ifwatch.Link{Flags: running, Kind: "openvswitch"}, nil, "always"},
		{"port of a bridge", ifwatch.Link{Flags: running, Master: 9, PortKind: "bridge"}, nil, "named"},
		{"port of a bond", ifwatch.Link{Flags: running, Master: 9, PortKind: "bond"}, nil, "named"},
		{"in a VRF", ifwatch.Link{Flags: running, Master: 9, PortKind: "vrf"}, nil, "always"},
		{"tunnel", ifwatch.Link{Flags: running | unix.IFF_POINTOPOINT, Kind: "tun"}, nil, "named"},
		{"overlay of a cluster", ifwatch.Link{Flags: running, Kind: "vxlan", Addrs: lan}, nil, "named"},
		{"kube-ipvs0", ifwatch.Link{Flags: running, Kind: "dummy", Addrs: lan}, nil, "named"},
		{"docker0", ifwatch.Link{Flags: running, Kind: "bridge", Addrs: lan}, []ifwatch.Link{{Kind: "veth", PeerAway: true}}, "named"},
		{"bridge without ports", ifwatch.Link{Flags: running, Kind: "bridge", Addrs: lan}, nil, "named"},
		{"bridge of the LAN and of containers", ifwatch.Link{Flags: running, Kind: "bridge"}, []ifwatch.Link{{Kind: "veth", PeerAway: true}, {}}, "always"},
		{"bridge of virtual machines", ifwatch.Link{Flags: running, Kind: "bridge"}, []ifwatch.Link{{Kind: "tun"}}, "always"},
		{"a container's eth0", ifwatch.Link{Flags: running, Kind: "veth", PeerAway: true, Addrs: lan}, nil, "always"},
		{"cali1234", ifwatch.Link{Flags: running, Kind: "veth", PeerAway: true, Addrs: []ifwatch.Addr{addr("fe80::1/64", 0)}}, nil, "named"},
		{"a pod's gateway", ifwatch.Link{Flags: running, Kind: "veth", PeerAway: true, Addrs: []ifwatch.Addr{addr("192.0.2.1/32", 0)}}, nil, "named"},
		{"cilium_host", ifwatch.Link{Flags: running, Kind: "veth", PeerIndex: 7, Addrs: lan}, nil, "named"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.link.Index, row.link.Name = 1, "link1"
			all := []ifwatch.Link{row.link}
			for i, p := range row.ports {
				p.Index, p.Name, p.Flags, p.Master, p.PortKind = 10+i, fmt.Sprintf("port%d", i), running, 1, "bridge"
				all = append(all, p)
			}
			got := "never"
			if len(watcher{names: []string{"other", "link*"}}.interfaces(all, 0)) == 1 {
				got = "named"
			}
			if slices.ContainsFunc(watcher{}.interfaces(all, 0), func(i Interface) bool { return i.Index == 1 }) {
				got = "always"
			}
			if got != row.want {
				t.Errorf("%+v counts %s, want %s", row.link, got, row.want)
			}
			if n := len(watcher{names: []string{"other"}}.interfaces(all, 0)); n != 0 {
				t.Errorf("%d links under another name, want none", n)
			}
		})
	}
}

// An address that is not usable yet (faults/network.md D7), or will not be
// for long, is none.
func TestWhichAddresses(t *testing.T) {
	l := ifwatch.Link{Index: 1, Name: "eth0", Flags: running, MTU: 9000, Addrs: []ifwatch.Addr{
		addr("192.0.2.1/24", unix.IFA_F_PERMANENT), addr("fe80::1/64", unix.IFA_F_TENTATIVE), addr("fe80::2/64", unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC),
		addr("2001:db8::1/64", unix.IFA_F_DEPRECATED), addr("2001:db8::2/64", unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED), addr("2001:db8::3/64", 0),
	}}
	got := watcher{}.interfaces([]ifwatch.Link{l}, 0)[0]
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::2/64"), netip.MustParsePrefix("2001:db8::3/64")}
	if !slices.Equal(got.Addrs, want) || got.MTU != 9000 {
		t.Errorf("interfaces() = %+v, want the addresses %v and the MTU", got, want)
	}
}

// A carrier that came and went between two looks, and a sleep that the
// kernel tells nobody of, show as another Epoch. faults/network.md D5.
func TestEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &machine{links: []ifwatch.Link{{Index: 1, Name: "eth0", Flags: running, Carriers: 3}}, wake: make(chan struct{})}
		var seen []string
		go watcher{nil, m}.run(ctx, func(links []Interface) { seen = append(seen, fmt.Sprint(links[0].Epoch)) })
		time.Sleep(time.Minute)
		synctest.Wait()
		m.change(func() { m.links[0].Carriers = 5 })
		m.wake <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		m.change(func() { m.asleep = time.Hour })
		time.Sleep(lookTime)
		synctest.Wait()
		m.change(func() { m.asleep += minSleep / 2 }) // no sleep, but the clocks are read one after the other
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := strings.Join(seen, " "); got != "3 5 6" {
			t.Errorf("epochs seen: %s, want 3, 5 after a change of carrier, 6 after a sleep", got)
		}
		cancel()
		synctest.Wait()
	})
}

// A storm of changes costs a bounded number of looks. faults/network.md D8.
func TestStormOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &machine{wake: make(chan struct{})}
		go watcher{nil, m}.run(ctx, func([]Interface) {})
		for range 1000 {
			m.wake <- struct{}{}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if m.asked > 12 {
			t.Errorf("looked %d times in a second with 1000 changes, want about 10", m.asked)
		}
		cancel()
		synctest.Wait()
	})
}

// A dump that fails once the watch runs is made again; one that fails at the
// start, and events that end, are errors.
func TestWatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &machine{links: []ifwatch.Link{{Index: 1, Name: "eth0", Flags: running}}, wake: make(chan struct{}), ended: make(chan struct{})}
		updates, done := 0, make(chan error, 1)
		go func() { done <- watcher{nil, m}.run(ctx, func([]Interface) { updates++ }) }()
		time.Sleep(time.Second)
		synctest.Wait()
		m.change(func() { m.fail = true })
		m.wake <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		m.change(func() { m.fail = false })
		time.Sleep(2 * lookTime)
		synctest.Wait()
		if updates != 2 {
			t.Errorf("%d updates, want one at the start and one after the failure", updates)
		}
		close(m.ended)
		if err := <-done; err == nil {
			t.Error("run() = nil when the events ended, want an error")
		}
		cancel()
		if err := (watcher{nil, &machine{fail: true, wake: m.wake}}).run(ctx, nil); err == nil {
			t.Error("run() = nil when the first dump failed, want an error")
		}
		synctest.Wait()
	})
}

func TestUnknownNames(t *testing.T) {
	unknown, links, err := UnknownNames([]string{"lo", "l?", "eth9", "nosuch*"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(unknown, []string{"eth9", "nosuch*"}) || !slices.Contains(links, "lo") {
		t.Errorf("UnknownNames() = %v of %v, want eth9 and nosuch*", unknown, links)
	}
	if _, _, err := UnknownNames([]string{"eth["}); err == nil {
		t.Error("UnknownNames(eth[) = nil, want an error")
	}
}

func TestResolvConf(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"plain", "nameserver 192.0.2.53\nsearch example.com corp.local.\n", "[192.0.2.53] [example.com corp.local]"},
		{"the last search counts", "domain example.org\nsearch example.com\n", "[] [example.com]"},
		{"no search at all", "search example.com\nsearch .\nnameserver fe80::1%eth0", "[fe80::1%eth0] []"},
		{"twice, comments, nonsense", "# nameserver 192.0.2.1\n;x\nnameserver\nnameserver x\nnameserver 2001:db8::53\nnameserver 2001:db8::53\noptions edns0\n", "[2001:db8::53] []"},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := readResolvConf(strings.NewReader(row.text))
			if got := fmt.Sprint(i.DNS, i.Domains); got != row.want || i.Index != 0 {
				t.Errorf("readResolvConf(%q) = %s, want %s", row.text, got, row.want)
			}
		})
	}
}
