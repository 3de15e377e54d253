package discover_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

// ended starts the responder, stops it, and returns what it says then.
func (c *conf) ended(all ...discover.Announcement) []packet {
	ctx, stop := context.WithCancel(c.ctx)
	at(c.lan, 1).answer(c.T, ctx, all...)
	time.Sleep(5 * time.Minute)
	e := c.ear(2)
	stop()
	return responses(e.packets(time.Second))
}

var goodbyeChecks = []check{
	{"RFC 6762 10.1", "at the end all records are taken back, with TTL 0", func(c *conf) {
		p := c.one(c.ended(kms))
		c.want(len(p.Answers) == 4 && !slices.ContainsFunc(p.Answers, func(r dns.Record) bool { return r.TTL != 0 }), "said\n%s", show(p.Answers))
	}},
	{"RFC 6762 10.1", "with the data that was announced", func(c *conf) {
		p := c.one(c.ended(kms))
		for _, r := range []dns.Record{kmsA, kmsPTR, kmsSRV, kmsTXT} {
			c.want(slices.ContainsFunc(p.Answers, func(o dns.Record) bool { return o.Name.Equal(r.Name) && o.Data == r.Data }), "no goodbye for %+v", r)
		}
	}},
	{"RFC 6762 10.2", "without the flush bit, which would remove the same name's records of others", func(c *conf) {
		c.want(!has(c.one(c.ended(kms)).Answers, "flush"), "flush bit")
	}},
	{"RFC 6763 9", "the type of service is not taken back: others may have it", func(c *conf) {
		c.want(!has(c.one(c.ended(kms)).Answers, "_services"), "taken back")
	}},
	{"RFC 6762 10.1", "what has not been announced is not taken back", func(c *conf) {
		ctx, stop := context.WithCancel(c.ctx)
		e := c.ear(2)
		at(c.lan, 1).answer(c.T, ctx, kms)
		time.Sleep(400 * time.Millisecond)
		stop()
		c.want(len(responses(e.packets(time.Second))) == 0, "goodbye for what nobody has heard of")
	}},
	{"RFC 6762 10.1", "what is announced no more is taken back, the rest stays", func(c *conf) {
		r := c.settled(kms)
		less := kms
		less.Services = nil
		e := c.ear(2)
		r.Announce([]discover.Announcement{less})
		p := responses(e.packets(time.Second))[0]
		c.want(len(p.Answers) == 3 && !has(p.Answers, "192.0.2.5"), "said\n%s", show(p.Answers))
	}},
	{"RFC 6762 10.1", "of two that answer for one key server one may stop, and it is not gone for a moment", func(c *conf) { // faults/network.md D3
		ctx, stop := context.WithCancel(c.ctx)
		at(c.lan, 1).answer(c.T, ctx, kms)
		at(c.lan, 2).answer(c.T, c.ctx, kms)
		time.Sleep(5 * time.Minute)
		f := c.find()
		found := map[string]bool{next(c.ctx, f, time.Second): true, next(c.ctx, f, time.Second): true}
		c.want(found["192.0.2.5:7741"] && found["192.0.2.5:8443"], "found %v", found)
		stop()
		for range 400 {
			f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, 0)
			if next(c.ctx, f, 10*time.Millisecond) == "none" {
				c.Fatal("gone")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}},
}

// sizes checks that no packet of the responder exceeds a size, and returns
// how many records were announced.
func (c *conf) sizes(limit int, mtu int, all ...discover.Announcement) int {
	e := c.ear(2)
	h := at(c.lan, 1)
	r, err := discover.NewResponder(all, h, logger(c.T))
	if err != nil {
		c.Fatal(err)
	}
	link := h.link()
	link[0].MTU = mtu
	r.Update(link)
	go r.Run(c.ctx)
	heard := ours(e.packets(3 * time.Second))
	n := 0
	for _, p := range heard {
		c.want(p.size <= limit, "a packet of %d bytes", p.size)
		if p.Response {
			n += len(p.Answers)
		}
	}
	return n
}

// many are key servers that need more than one packet.
func many() []discover.Announcement {
	var all []discover.Announcement
	for i := range 16 {
		k := kms
		k.Host = "kms" + string(rune('a'+i)) + ".local"
		k.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("2001:db8::6")}
		k.Text = []string{"v=1", strings.Repeat("x", 100)}
		all = append(all, k)
	}
	all[0].Addrs = all[0].Addrs[1:] // 192.0.2.0 is no host
	return all
}

var packetChecks = []check{
	{"RFC 6762 17", "what does not fit into one packet is split", func(c *conf) { // faults/network.md D6
		n := c.sizes(1472, 0, many()...)
		want := 2 * (16*4 - 1 + 16*3 + 1) // two announcements of addresses, PTR, SRV and TXT, and the type
		c.want(n == want, "%d records announced, want %d", n, want)
	}},
	{"RFC 6762 17", "packets are as large as the link allows", func(c *conf) { c.sizes(9000-28, 9000, many()...) }},
	{"RFC 6762 17", "no smaller than every link can carry, whatever its MTU is said to be", func(c *conf) { c.sizes(1280-28, 68, many()...) }},
	{"RFC 6762 17", "goodbyes are split, too", func(c *conf) {
		for _, p := range c.ended(many()...) {
			c.want(p.size <= 1472, "a packet of %d bytes", p.size)
		}
	}},
	{"RFC 6762 8.2", "the records of one name are in one probe: a tie is settled by them", func(c *conf) {
		e := c.ear(2)
		c.start(many()...)
		for _, p := range queries(e.packets(400 * time.Millisecond)) {
			for _, q := range p.Questions {
				if host, _ := q.Name.Cut(); len(host) == 4 && q.Name != "kmsa.local" && strings.HasSuffix(string(q.Name), ".local") && !strings.Contains(string(q.Name), "_") {
					n := 0
					for _, r := range p.Authorities {
						if r.Name.Equal(q.Name) {
							n++
						}
					}
					c.want(n == 4, "%d records of %s in the probe", n, q.Name)
				}
			}
		}
	}},
	{"RFC 6763 6.2", "texts that need more than a packet are refused", func(c *conf) { // faults/network.md D6
		big := kms
		big.Text = nil
		for range 6 {
			big.Text = append(big.Text, strings.Repeat("x", 255))
		}
		_, err := discover.NewResponder([]discover.Announcement{big}, at(c.lan, 1), logger(c.T))
		c.want(err != nil && strings.Contains(err.Error(), "limit"), "NewResponder() = %v, want an error", err)
	}},
	{"RFC 6762 17", "addresses that need more than a packet are refused", func(c *conf) { // faults/network.md D6
		big := kms
		big.Addrs = nil
		for i := range 41 {
			big.Addrs = append(big.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}))
		}
		two := []discover.Announcement{big, big}
		two[0].Addrs, two[1].Addrs, two[1].Port = big.Addrs[:21], big.Addrs[21:], 1
		for _, all := range [][]discover.Announcement{{big}, two} {
			_, err := discover.NewResponder(all, at(c.lan, 1), logger(c.T))
			c.want(err != nil && strings.Contains(err.Error(), "limit"), "NewResponder() = %v, want an error", err)
		}
	}},
	{"RFC 6762 18.14", "names are compressed", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		p := responses(e.packets(2 * time.Second))[0]
		c.want(p.size < 200, "an announcement of %d bytes", p.size)
	}},
}
