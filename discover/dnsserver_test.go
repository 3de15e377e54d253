package discover_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

// A dnsNet is the Sockets of a link with DNS servers and no multicast.
type dnsNet struct {
	mu      sync.Mutex
	servers map[netip.Addr]func(network string, q *dns.Message) *dns.Message // nil is a dead one
	asked   []string
}

func (d *dnsNet) Direct(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.New("no multicast here")
}

func (d *dnsNet) Group(i discover.Interface, v6 bool) (net.PacketConn, error) {
	return d.Direct(i, v6)
}

func (d *dnsNet) Dial(_ context.Context, _ discover.Interface, network string, to netip.AddrPort) (net.Conn, error) {
	answer := d.servers[to.Addr()]
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		buf := make([]byte, 9000)
		n, err := there.Read(buf)
		if err != nil || answer == nil {
			io.Copy(io.Discard, there)
			return
		}

		packet := buf[:n]
		if network == "tcp" {
			packet = packet[2:]
		}
		q, err := dns.Parse(packet)
		if err != nil {
			return
		}

		d.mu.Lock()
		d.asked = append(d.asked, network+" "+string(q.Questions[0].Name))
		d.mu.Unlock()
		m := answer(network, q)
		if m == nil {
			return
		}

		m.Response = true
		out, err := m.Pack()
		if err != nil {
			return
		}

		if network == "tcp" {
			out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
		}
		there.Write(out)
		io.Copy(io.Discard, there)
	}()

	return here, nil
}

// Each row is a link with its servers; the name kms.example.org is wanted.
func TestDNSServers(t *testing.T) {
	good := func(_ string, q *dns.Message) *dns.Message {
		m := &dns.Message{ID: q.ID, Questions: q.Questions}
		if q.Questions[0].Type == dns.TypeA {
			m.Answers = []dns.Record{a(q.Questions[0].Name, "192.0.2.5")}
		}
		return m
	}
	change := func(c func(m *dns.Message)) func(string, *dns.Message) *dns.Message {
		return func(network string, q *dns.Message) *dns.Message {
			m := good(network, q)
			c(m)
			return m
		}
	}
	for _, row := range []struct {
		name    string
		servers []func(string, *dns.Message) *dns.Message
		want    string
		within  time.Duration
	}{
		{"one", []func(string, *dns.Message) *dns.Message{good}, "192.0.2.5:7741", time.Millisecond},
		{"a dead one first", []func(string, *dns.Message) *dns.Message{nil, good}, "192.0.2.5:7741", 201 * time.Millisecond},
		{"one that does not know first", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.RCode, m.Answers = 3, nil }), good}, "192.0.2.5:7741", time.Millisecond},
		{"one that fails first", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.RCode, m.Answers = 2, nil }), good}, "192.0.2.5:7741", time.Millisecond},
		{"truncated, then by TCP", []func(string, *dns.Message) *dns.Message{func(network string, q *dns.Message) *dns.Message {
			m := good(network, q)
			if network == "udp" {
				m.Truncated, m.Answers = true, nil
			}
			return m
		}}, "192.0.2.5:7741", time.Millisecond},
		{"alias", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) {
			if len(m.Answers) > 0 {
				m.Answers = []dns.Record{record("kms.example.org", dns.CNAME{Target: "x.example.org"}), a("x.example.org", "192.0.2.7")}
			}
		})}, "192.0.2.7:7741", time.Millisecond},
		{"aliases in a circle", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) {
			m.Answers = []dns.Record{record("kms.example.org", dns.CNAME{Target: "x.example.org"}), record("x.example.org", dns.CNAME{Target: "kms.example.org"})}
		})}, "none", 10 * time.Second},
		{"another id", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.ID++ })}, "none", 10 * time.Second},
		{"another question", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.Questions = []dns.Question{{Name: "evil.example.org", Type: dns.TypeA}} })}, "none", 10 * time.Second},
		{"another name's address", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.Answers = []dns.Record{a("evil.example.org", "192.0.2.66")} })}, "none", 10 * time.Second},
		{"useless address", []func(string, *dns.Message) *dns.Message{change(func(m *dns.Message) { m.Answers = []dns.Record{a("kms.example.org", "0.0.0.0")} })}, "none", 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				d := &dnsNet{servers: map[netip.Addr]func(string, *dns.Message) *dns.Message{}}
				link := discover.Interface{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}
				for i, s := range row.servers {
					addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(50 + i)})
					link.DNS = append(link.DNS, addr)
					d.servers[addr] = s
				}

				f, err := discover.NewFinder(discover.Query{URLs: []string{"http://kms.example.org"}}, d, logger(t))
				if err != nil {
					t.Fatal(err)
				}

				f.Update([]discover.Interface{link})
				go f.Run(ctx)
				if got := next(ctx, f, row.within); got != row.want {
					t.Errorf("Next() = %s within %s, want %s", got, row.within, row.want)
				}
				cancel()
				time.Sleep(time.Minute)
			})
		})
	}
}

// An SRV record may lead to a .local name: it is asked for where the record
// came from.
func TestSRVToLocal(t *testing.T) {
	for target, want := range map[dns.Name]string{"kms.example.org": "192.0.2.5:8443", "kms.corp.local": "192.0.2.5:8443"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			server := netip.MustParseAddr("192.0.2.53")
			d := &dnsNet{servers: map[netip.Addr]func(string, *dns.Message) *dns.Message{server: func(_ string, q *dns.Message) *dns.Message {
				m := &dns.Message{ID: q.ID, Questions: q.Questions}
				switch q.Questions[0].Type {
				case dns.TypeSRV:
					m.Answers = []dns.Record{record(q.Questions[0].Name, dns.SRV{Port: 8443, Target: target})}
				case dns.TypeA:
					m.Answers = []dns.Record{a(q.Questions[0].Name, "192.0.2.5")}
				}
				return m
			}}}

			f, err := discover.NewFinder(discover.Query{Services: []string{"_latchkey._tcp"}}, d, logger(t))
			if err != nil {
				t.Fatal(err)
			}

			f.Update([]discover.Interface{{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}, DNS: []netip.Addr{server}, Domains: []string{"example.org"}}})
			go f.Run(ctx)
			if got := next(ctx, f, 5*time.Second); got != want {
				t.Errorf("SRV to %s: Next() = %s, want %s", target, got, want)
			}
			cancel()
			time.Sleep(time.Minute)
		})
	}
}
