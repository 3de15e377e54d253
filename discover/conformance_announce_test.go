package discover_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

// lame is a host whose first packets cannot be sent: faults/network.md D7.
type lame struct {
	host
	fail *atomic.Int64 // so many
}

func (l lame) Group(i discover.Interface, v6 bool) (net.PacketConn, error) {
	conn, err := l.host.Group(i, v6)
	return lameConn{conn, l.fail}, err
}

type lameConn struct {
	net.PacketConn
	fail *atomic.Int64
}

func (c lameConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.fail.Add(-1) >= 0 {
		return 0, errors.New("cannot assign requested address")
	}
	return c.PacketConn.WriteTo(b, to)
}

// lameStart starts the responder on a link where n packets fail.
func (c *conf) lameStart(n int64) *atomic.Int64 {
	fail := &atomic.Int64{}
	fail.Store(n)
	h := lame{at(c.lan, 1), fail}
	r, err := discover.NewResponder([]discover.Announcement{kms}, h, logger(c.T))
	if err != nil {
		c.Fatal(err)
	}
	r.Update(h.link())
	go r.Run(c.ctx)
	return fail
}

var announceChecks = []check{
	{"RFC 6762 8.3", "all records are announced at least twice, a second apart", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		heard := responses(e.packets(3 * time.Second))
		c.want(len(heard) == 2 && heard[1].after-heard[0].after == time.Second, "%d announcements within 3 s", len(heard))
		c.want(len(heard[0].Answers) == 5 && show(heard[0].Answers) == show(heard[1].Answers), "announced\n%s", show(heard[0].Answers))
	}},
	{"RFC 6762 8.3", "at most eight announcements, each pause at least twice the last", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		heard := responses(e.packets(time.Hour))
		c.want(len(heard) == 8, "%d announcements", len(heard))
		for i := 2; i < len(heard); i++ {
			last, now := heard[i-1].after-heard[i-2].after, heard[i].after-heard[i-1].after
			c.want(now >= 2*last, "pause of %s after one of %s", now, last)
		}
	}},
	{"RFC 6762 8.1", "a probe that could not be sent is none", func(c *conf) { // faults/network.md D7
		e := c.ear(2)
		fail := c.lameStart(5)
		heard := ours(e.packets(20 * time.Second))
		c.want(fail.Load() < 0 && len(queries(heard)) == 3, "%d probes sent, want three", len(queries(heard)))
	}},
	{"RFC 6762 8.3", "an announcement that could not be sent is none", func(c *conf) { // faults/network.md D7
		e := c.ear(2)
		fail := c.lameStart(0)
		for probed := 0; probed < 3; {
			probed += len(queries(e.packets(10 * time.Millisecond)))
		}
		fail.Store(2)
		c.want(len(responses(e.packets(time.Hour))) == 8, "fewer than eight announcements")
	}},
	{"RFC 6762 10.2", "only records that are ours alone have the flush bit", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, r := range responses(e.packets(2 * time.Second))[0].Answers {
			_, shared := r.Data.(dns.PTR)
			c.want(r.Flush != shared, "announced %+v", r)
		}
	}},
	{"RFC 6762 10", "TTL is 120 s where a host is named, 75 minutes elsewhere", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, r := range responses(e.packets(2 * time.Second))[0].Answers {
			want := uint32(4500)
			switch r.Data.(type) {
			case dns.A, dns.AAAA, dns.SRV:
				want = 120
			}
			c.want(r.TTL == want, "announced %+v", r)
		}
	}},
	{"RFC 6762 18", "announcements are authoritative, with id 0, no question and no error", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, p := range responses(e.packets(2 * time.Second)) {
			c.want(p.Authoritative && p.ID == 0 && len(p.Questions) == 0 && !p.Truncated && !p.Recurse && p.Opcode == 0 && p.RCode == 0, "header %+v", p.Message)
		}
	}},
	{"RFC 6762 8.4", "a new address is announced, the old one taken back", func(c *conf) {
		own := kms
		own.Addrs = nil
		r := c.settled(own)
		e := c.ear(2)
		link := at(c.lan, 1).link()
		link[0].Addrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.77/24")}
		r.Update(link)
		heard := responses(e.packets(2 * time.Second))
		var all []dns.Record // two packets of one moment may overtake each other
		for _, p := range heard[:2] {
			all = append(all, p.Answers...)
		}
		c.want(len(heard) == 3 && has(all, "kms.local 0 {Addr:192.0.2.1}") && has(all, "kms.local 120 flush {Addr:192.0.2.77}"), "%d messages, the first\n%s", len(heard), show(all))
	}},
	{"RFC 6762 14", "each link is told its own address", func(c *conf) {
		other := newLAN()
		own := kms
		own.Addrs = nil
		r, err := discover.NewResponder([]discover.Announcement{own}, wires{"eth0": at(c.lan, 1), "eth1": at(other, 1)}, logger(c.T))
		if err != nil {
			c.Fatal(err)
		}
		r.Update([]discover.Interface{
			{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
			{Index: 2, Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}},
		})
		go r.Run(c.ctx)
		one, two := c.ear(2), ear{c.T, at(other, 2).raw(5353)}
		c.want(has(responses(one.packets(2 * time.Second))[0].Answers, "Addr:192.0.2.1}"), "eth0 is told another address")
		c.want(has(responses(two.packets(time.Second))[0].Answers, "Addr:198.51.100.1}"), "eth1 is told another address")
	}},
	{"RFC 6762 8.3", "under the machine's own name a link-local address is not announced beside a wider one, as avahi-daemon does it", func(c *conf) { // faults/network.md D4
		own := kms
		own.Addrs, own.OwnName = nil, true
		h := at(c.lan, 1)
		r, err := discover.NewResponder([]discover.Announcement{own}, h, logger(c.T))
		if err != nil {
			c.Fatal(err)
		}
		link := h.link()
		link[0].Addrs = append(link[0].Addrs, netip.MustParsePrefix("169.254.7.7/16"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64"))
		r.Update(link)
		go r.Run(c.ctx)
		e := c.ear(2)
		answers := responses(e.packets(2 * time.Second))[0].Answers
		c.want(has(answers, "192.0.2.1}") && has(answers, "2001:db8::1") && !has(answers, "169.254") && !has(answers, "fe80"), "announced\n%s", show(answers))
		link[0].Addrs = slices.Delete(link[0].Addrs, 3, 4)
		r.Update(link)
		time.Sleep(5 * time.Minute)
		c.want(has(c.one(c.ear(3).asks(time.Second, question("kms.local", dns.TypeAAAA))).Answers, "fe80::1"), "the only IPv6 address is not answered")
	}},
	{"RFC 6762 8.3", "under another name link-local addresses are announced, too: a machine without an address reaches no other", func(c *conf) {
		own := kms
		own.Addrs = nil
		h := at(c.lan, 1)
		r, err := discover.NewResponder([]discover.Announcement{own}, h, logger(c.T))
		if err != nil {
			c.Fatal(err)
		}
		link := h.link()
		link[0].Addrs = append(link[0].Addrs, netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64"))
		r.Update(link)
		go r.Run(c.ctx)
		answers := responses(c.ear(2).packets(2 * time.Second))[0].Answers
		c.want(has(answers, "192.0.2.1}") && has(answers, "2001:db8::1") && has(answers, "fe80::1"), "announced\n%s", show(answers))
	}},
}
