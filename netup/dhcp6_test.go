package netup_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// listen6 notes the DHCPv6 messages of clients on a link's cable.
func listen6(k *fakeKernel, index int) func() []string {
	var mu sync.Mutex
	var heard []string
	serve6(k, index, 0, func(m *dhcpv6.Message) *dhcpv6.Message {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, m.MessageType.String())
		return nil
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(heard)
	}
}

// serve6 starts a DHCPv6 server, fe80::<n>, whose answers a test makes.
func serve6(k *fakeKernel, index int, n byte, answer func(*dhcpv6.Message) *dhcpv6.Message) {
	k.mu.Lock()
	conn := k.side(index, netup.DHCP6).Join(&net.UDPAddr{IP: net.ParseIP("fe80::5:0").To16(), Port: 547})
	k.mu.Unlock()
	go func() {
		buf := make([]byte, 2000)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m, err := dhcpv6.MessageFromBytes(buf[:size])
			if err != nil || m.MessageType == dhcpv6.MessageTypeAdvertise || m.MessageType == dhcpv6.MessageTypeReply {
				continue
			}
			if a := answer(m); a != nil {
				conn.WriteTo(a.ToBytes(), from)
			}
		}
	}()
}

func duid(n byte) dhcpv6.DUID {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 9, n}}
}

// grants makes the answers of a usual server.
func grants(n byte, address string, more ...dhcpv6.Option) func(*dhcpv6.Message) *dhcpv6.Message {
	return func(m *dhcpv6.Message) *dhcpv6.Message {
		if id := m.Options.ServerID(); id != nil && !id.Equal(duid(n)) {
			return nil
		}
		a := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
		if m.MessageType == dhcpv6.MessageTypeSolicit {
			a.MessageType = dhcpv6.MessageTypeAdvertise
		}
		a.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
		a.AddOption(dhcpv6.OptServerID(duid(n)))
		if ask := m.Options.OneIANA(); ask != nil {
			a.AddOption(&dhcpv6.OptIANA{IaId: ask.IaId, T1: 10 * time.Minute, T2: 20 * time.Minute, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{
				&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(address), PreferredLifetime: 30 * time.Minute, ValidLifetime: 30 * time.Minute},
			}}})
		}
		for _, o := range more {
			a.AddOption(o)
		}
		return a
	}
}

// faults/network.md M2: an address is asked for as soon as any router says
// so, whatever another said before.
func TestStatefulAfterStateless(t *testing.T) {
	var asked func() []string
	fake(t, func() *fakeKernel {
		k := one()
		asked = listen6(k, 1)
		serve6(k, 1, 1, grants(1, "2001:db8::100", dhcpv6.OptDNS(net.ParseIP("2001:db8::53"))))
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		advertiser(k, 1, "fe80::a")(ra(otherConfig, 1800))
		settle()
		if got := asked(); !slices.Equal(got, []string{"INFORMATION-REQUEST"}) || dnsOf(s.link("eth0")) != "53" {
			t.Errorf("with O: asked %v, DNS %q; want an INFORMATION-REQUEST and DNS", got, dnsOf(s.link("eth0")))
		}
		advertiser(k, 1, "fe80::b")(ra(managed, 1800))
		settle()
		if got := s.addrs("eth0"); !strings.Contains(got, "2001:db8::100/128") {
			t.Errorf("with M: addresses %q (asked %v), want 2001:db8::100", got, asked())
		}
		n := len(asked())
		advertiser(k, 1, "fe80::a")(ra(otherConfig, 1800))
		settle()
		if got := asked(); len(got) != n {
			t.Errorf("with O again: asked %v, want nothing new", got)
		}
	})
}

// faults/network.md Low: of several servers the one that prefers itself most
// is taken, not the first.
func TestPreference(t *testing.T) {
	high := dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPreference, OptionData: []byte{200}}
	settings, _ := parse(t, "ip=dhcp6")
	fake(t, func() *fakeKernel {
		k := one()
		serve6(k, 1, 1, grants(1, "2001:db8::1:1"))
		slow := grants(2, "2001:db8::2:2", &high)
		serve6(k, 1, 2, func(m *dhcpv6.Message) *dhcpv6.Message { time.Sleep(20 * time.Millisecond); return slow(m) })
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		if got := s.addrs("eth0"); got != "2001:db8::2:2/64" {
			t.Errorf("addresses %q, want that of the second server, which prefers itself", got)
		}
	})
}

// faults/network.md M4: at T1 the server of the lease is asked by name, and
// what another does not know ends nothing.
func TestRenewal6(t *testing.T) {
	settings, _ := parse(t, "ip=dhcp6")
	var mu sync.Mutex
	var kinds []string
	alive := true
	fake(t, func() *fakeKernel {
		k := one()
		own := grants(1, "2001:db8::100")
		serve6(k, 1, 1, func(m *dhcpv6.Message) *dhcpv6.Message {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, m.MessageType.String())
			if !alive {
				return nil
			}
			return own(m)
		})
		// Another server that knows nothing of the lease, and is faster.
		other := grants(2, "2001:db8::200")
		serve6(k, 1, 2, func(m *dhcpv6.Message) *dhcpv6.Message {
			if m.MessageType != dhcpv6.MessageTypeRebind {
				return nil
			}
			a := other(m)
			ia := a.Options.OneIANA()
			ia.Options.Options = dhcpv6.Options{&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoBinding}}
			return a
		})
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(15 * time.Minute)
		mu.Lock()
		if want := []string{"SOLICIT", "REQUEST", "RENEW"}; !slices.Equal(kinds, want) {
			t.Errorf("messages %v, want %v", kinds, want)
		}
		alive = false
		mu.Unlock()
		time.Sleep(20 * time.Minute) // T2 has passed: all are asked
		mu.Lock()
		rebinds := slices.Contains(kinds, "REBIND")
		mu.Unlock()
		if got := s.addrs("eth0"); got != "2001:db8::100/64" || !rebinds {
			t.Errorf("another server has no binding: addresses %q (messages %v), want the lease kept until it ends", got, kinds)
		}
		time.Sleep(20 * time.Minute)
		if got := s.addrs("eth0"); got != "" {
			t.Errorf("the lease has ended, but the addresses are %q", got)
		}
	})
}

// The lease's own server may end it.
func TestNoBinding(t *testing.T) {
	settings, _ := parse(t, "ip=dhcp6")
	forgotten := false
	fake(t, func() *fakeKernel {
		k := one()
		serve6(k, 1, 1, func(m *dhcpv6.Message) *dhcpv6.Message {
			address := "2001:db8::100"
			if forgotten {
				address = "2001:db8::101"
			}
			a := grants(1, address)(m)
			if a != nil && m.MessageType == dhcpv6.MessageTypeRenew {
				forgotten = true
				ia := a.Options.OneIANA()
				ia.Options.Options = dhcpv6.Options{&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoBinding}}
			}
			return a
		})
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(11 * time.Minute)
		if got := s.addrs("eth0"); got != "2001:db8::101/64" {
			t.Errorf("addresses %q, want a new lease", got)
		}
	})
}
