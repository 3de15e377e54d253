package ifwatch_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/ifwatch"
	"latchkey/internal/testlan"
)

func TestMain(m *testing.M) { testlan.Main(m) }

// What the standard library says of this machine's links is the oracle.
func TestLinksAsTheStandardLibrary(t *testing.T) {
	links, err := ifwatch.Links()
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}

	if len(links) != len(all) {
		t.Fatalf("Links() has %d links, net.Interfaces() %d", len(links), len(all))
	}
	for _, want := range all {
		i := slices.IndexFunc(links, func(l ifwatch.Link) bool { return l.Index == want.Index })
		if i < 0 {
			t.Errorf("Links() lacks %s", want.Name)
			continue
		}

		l := links[i]
		if l.Name != want.Name || l.MTU != want.MTU || l.Flags&unix.IFF_UP != 0 != (want.Flags&net.FlagUp != 0) {
			t.Errorf("Links() has %+v, want name, MTU and flags of %+v", l, want)
		}
		addrs, err := want.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		var got, oracle []string
		for _, a := range l.Addrs {
			got = append(got, a.String())
		}
		for _, a := range addrs {
			oracle = append(oracle, a.String())
		}
		slices.Sort(got)
		slices.Sort(oracle)
		if !slices.Equal(got, oracle) {
			t.Errorf("addresses of %s = %v, want %v", l.Name, got, oracle)
		}
	}
}

// What the standard library does not tell: kinds, masters, peers, carriers.
func TestLinksOfEveryKind(t *testing.T) {
	testlan.Need(t)
	peer := testlan.NewPeer(t)
	peer.Connect("eth0", "lan0")
	for _, args := range []string{
		"link add br0 type bridge", "link set eth0 master br0", "link set eth0 up",
		"link add one type veth peer name two", "addr add 192.0.2.1 peer 192.0.2.2/32 dev one",
	} {
		testlan.Run(t, "ip", strings.Fields(args)...)
	}
	t.Cleanup(func() { testlan.Run(t, "ip", "link", "del", "br0"); testlan.Run(t, "ip", "link", "del", "one") })

	of := func(name string) ifwatch.Link {
		t.Helper()
		links, err := ifwatch.Links()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(links, func(l ifwatch.Link) bool { return l.Name == name })
		if i < 0 {
			t.Fatalf("Links() lacks %s", name)
		}
		return links[i]
	}

	br0, eth0, one, two := of("br0"), of("eth0"), of("one"), of("two")
	if br0.Kind != "bridge" || br0.Master != 0 {
		t.Errorf("br0 = %+v, want a bridge with no master", br0)
	}
	if eth0.Kind != "veth" || eth0.Master != br0.Index || eth0.PortKind != "bridge" || !eth0.PeerAway {
		t.Errorf("eth0 = %+v, want a veth to another namespace, port of br0", eth0)
	}
	if one.PeerIndex != two.Index || one.PeerAway {
		t.Errorf("one = %+v, want its peer here, link %d", one, two.Index)
	}
	if want := netip.MustParsePrefix("192.0.2.1/32"); len(one.Addrs) != 1 || one.Addrs[0].Prefix != want {
		t.Errorf("addresses of one = %v, want this end of it, %s", one.Addrs, want)
	}

	peer.Run("ip", "link", "set", "lan0", "up")
	testlan.Await(t, "eth0's carrier", func() bool { return of("eth0").Flags&unix.IFF_RUNNING != 0 })
	before := of("eth0").Carriers
	peer.Run("ip", "link", "set", "lan0", "down")
	peer.Run("ip", "link", "set", "lan0", "up")
	testlan.Await(t, "eth0's carrier", func() bool { return of("eth0").Flags&unix.IFF_RUNNING != 0 })
	if after := of("eth0").Carriers; after < before+2 {
		t.Errorf("Carriers = %d after %d and a cable that went out and in, want 2 more", after, before)
	}
}

func TestAsleep(t *testing.T) {
	if d := ifwatch.Asleep(); d < 0 {
		t.Errorf("Asleep() = %s, want no less than nothing", d)
	}
}
