package discover_test

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

var serviceChecks = []check{
	{"RFC 6763 4.1", "a type of service leads to its instance", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
		c.want(show(p.Answers) == "_latchkey._tcp.local 4500 {Target:kms._latchkey._tcp.local}\n", "answered\n%s", show(p.Answers))
	}},
	{"RFC 6763 5", "an instance leads to host and port", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms._latchkey._tcp.local", dns.TypeSRV)))
		c.want(has(p.Answers, "Port:8443 Target:kms.local"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6763 6.1", "an instance without text has one empty string", func(c *conf) {
		plain := kms
		plain.Text = nil
		c.settled(plain)
		p := c.one(c.ear(2).asks(time.Second, question("kms._latchkey._tcp.local", dns.TypeTXT)))
		c.want(p.Answers[0].Data == dns.TXT{Text: "\x00"}, "answered %+v", p.Answers[0].Data)
	}},
	{"RFC 6763 4.3", "an instance may have dots, spaces and any letters", func(c *conf) {
		odd := kms
		odd.Instance = `Schlüssel v1.2 \ unten`
		c.settled(odd)
		p := c.one(c.ear(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
		label, _ := p.Answers[0].Data.(dns.PTR).Target.Cut()
		c.want(label == odd.Instance, "label %q", label)
	}},
	{"RFC 6763 9", "the types of services can be listed", func(c *conf) {
		two := kms
		two.Services = []string{"_latchkey._tcp", "_kcrypt._tcp"}
		c.settled(two)
		p := c.one(c.ear(2).asks(time.Second, question("_services._dns-sd._udp.local", dns.TypePTR)))
		c.want(has(p.Answers, "Target:_latchkey._tcp.local") && has(p.Answers, "Target:_kcrypt._tcp.local"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6763 12.1", "with an instance come its server, text and address", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
		c.want(has(p.Additionals, "Port:8443") && has(p.Additionals, "v=1") && has(p.Additionals, "192.0.2.5"), "additional\n%s", show(p.Additionals))
	}},
	{"RFC 6763 12.2", "with a server come its addresses", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms._latchkey._tcp.local", dns.TypeSRV)))
		c.want(has(p.Additionals, "192.0.2.5"), "additional\n%s", show(p.Additionals))
	}},
	{"RFC 6763 D", "an instance that another machine has becomes number 2, the host stays", func(c *conf) {
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(answers(alone(record("kms._latchkey._tcp.local", dns.SRV{Port: 1, Target: "x.local"}))))
		time.Sleep(5 * time.Second)
		got := r.Announcements()[0]
		c.want(got.Instance == "kms (2)" && got.Host == "kms.local", "names %q and %q", got.Instance, got.Host)
	}},
	{"RFC 6763 7.1", "chosen: there are no subtypes: nobody asks for them", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, question("_x._sub._latchkey._tcp.local", dns.TypePTR))) == 0, "answered")
	}},
	{"RFC 6763 7", "names that are no type of service are refused", func(c *conf) {
		for _, s := range []string{"latchkey._tcp", "_latchkey", "_latchkey._sctp", "_0123456789abcdef._tcp"} {
			bad := kms
			bad.Services = []string{s}
			_, err := discover.NewResponder([]discover.Announcement{bad}, at(c.lan, 1), logger(c.T))
			c.want(err != nil, "service %q is taken", s)
		}
	}},
	{"RFC 6763 4", "a finder reads PTR, SRV, TXT and address in any order and any packet", func(c *conf) {
		f := at(c.lan, 10).find(c.T, c.ctx, discover.Query{Services: []string{"_latchkey._tcp"}})
		time.Sleep(time.Second)
		for _, r := range []dns.Record{kmsTXT, kmsA, kmsSRV, kmsPTR} {
			c.ear(1).say(answers(r))
			time.Sleep(10 * time.Millisecond)
		}
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:8443", "not found")
	}},
	{"RFC 6763 12", "a finder asks for what was not added", func(c *conf) {
		at(c.lan, 10).find(c.T, c.ctx, discover.Query{Services: []string{"_latchkey._tcp"}})
		time.Sleep(500 * time.Millisecond)
		e := c.ear(1)
		e.say(answers(kmsPTR))
		p := c.one(queries(e.packets(100 * time.Millisecond)))
		c.want(p.Questions[0].Name == "kms._latchkey._tcp.local" && p.Questions[0].Type == dns.TypeSRV, "asked %+v", p.Questions)
	}},
}

// second is another key server that is called kms.local.
func second() discover.Announcement {
	k := kms
	k.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.6")}
	return k
}

// faults/network.md D10.
var shareChecks = []check{
	{"RFC 6762 2", "key servers of one name share it: all addresses are found under it", func(c *conf) {
		one := c.settled(kms)
		two := at(c.lan, 2).answer(c.T, c.ctx, second())
		time.Sleep(5 * time.Minute)
		c.want(one.Announcements()[0].Host == "kms.local" && two.Announcements()[0].Host == "kms.local", "names %s and %s", one.Announcements()[0].Host, two.Announcements()[0].Host)
		f := at(c.lan, 10).find(c.T, c.ctx, discover.Query{URLs: []string{"http://kms.local"}})
		found := []string{next(c.ctx, f, time.Second), next(c.ctx, f, time.Second)}
		slices.Sort(found)
		c.want(slices.Equal(found, []string{"192.0.2.5:7741", "192.0.2.6:7741"}), "found %v", found)
		c.want(one.Stats().Challenges+two.Stats().Challenges == 0, "they challenge each other")
	}},
	{"RFC 6762 2", "so do those that start at the same time", func(c *conf) {
		rs := []*discover.Responder{c.start(kms), at(c.lan, 2).answer(c.T, c.ctx, second())}
		third := second()
		third.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
		rs = append(rs, at(c.lan, 3).answer(c.T, c.ctx, third))
		time.Sleep(5 * time.Minute)
		for i, r := range rs {
			c.want(r.Announcements()[0].Host == "kms.local", "name %d is %s", i, r.Announcements()[0].Host)
		}
	}},
	{"RFC 6762 10.2", "shared addresses have no flush bit", func(c *conf) {
		c.settled(kms)
		at(c.lan, 2).answer(c.T, c.ctx, second())
		time.Sleep(5 * time.Minute)
		e := c.ear(3)
		p := c.one(e.asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(!strings.Contains(show(p.Answers), "flush"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6", "and are answered after 20 to 120 ms", func(c *conf) {
		c.settled(kms)
		at(c.lan, 2).answer(c.T, c.ctx, second())
		time.Sleep(5 * time.Minute)
		p := c.one(c.ear(3).asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(p.after >= 20*time.Millisecond && p.after <= 122*time.Millisecond, "answered after %s", p.after)
	}},
	{"RFC 6762 6.1", "nothing is denied of a shared name: another may have it", func(c *conf) {
		c.settled(kms)
		at(c.lan, 2).answer(c.T, c.ctx, second())
		time.Sleep(5 * time.Minute)
		c.want(len(c.ear(3).asks(time.Second, question("kms.local", dns.TypeAAAA))) == 0, "denied")
	}},
	{"RFC 6762 10.1", "one that stops takes back its own address only", func(c *conf) {
		c.settled(kms)
		f := at(c.lan, 10).find(c.T, c.ctx, discover.Query{URLs: []string{"http://kms.local"}})
		e := c.ear(3)
		e.say(answers(with(a("kms.local", "192.0.2.6"), 0)))
		time.Sleep(10 * time.Second)
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "gone")
	}},
	{"RFC 6762 9", "a machine that has the name alone is no key server, and is not joined", func(c *conf) {
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(answers(alone(a("kms.local", "192.0.2.66")), alone(record("x._latchkey._tcp.local", dns.SRV{Port: 1, Target: "kms.local"}))))
		time.Sleep(5 * time.Second)
		c.want(r.Announcements()[0].Host == "kms-2.local", "the name is %s", r.Announcements()[0].Host)
	}},
	{"RFC 6762 9", "two that share a name do not take it from a machine that has it", func(c *conf) {
		e := c.ear(66)
		one, two := c.start(kms), at(c.lan, 2).answer(c.T, c.ctx, second())
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			for _, p := range e.packets(10 * time.Millisecond) {
				if !p.Response && slices.ContainsFunc(p.Questions, func(q dns.Question) bool { return q.Name == "kms.local" }) {
					e.say(answers(alone(a("kms.local", "192.0.2.66"))))
				}
			}
		}
		for _, r := range []*discover.Responder{one, two} {
			c.want(r.Announcements()[0].Host == "kms-2.local", "the name is %s", r.Announcements()[0].Host)
		}
	}},
}
