package discover_test

import (
	"net/netip"
	"slices"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

var answerChecks = []check{
	{"RFC 6762 6", "a record that is ours alone is answered at once", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(p.after <= 2*time.Millisecond && has(p.Answers, "192.0.2.5"), "answered after %s", p.after)
	}},
	{"RFC 6762 6", "a shared record is answered after 20 to 120 ms, by chance", func(c *conf) {
		c.settled(kms)
		e, seen := c.ear(2), map[time.Duration]bool{}
		for range 20 {
			time.Sleep(time.Minute)
			p := c.one(e.asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
			c.want(p.after >= 20*time.Millisecond && p.after <= 122*time.Millisecond, "answered after %s", p.after)
			seen[p.after] = true
		}
		c.want(len(seen) > 10, "%d different pauses in twenty answers", len(seen))
	}},
	{"RFC 6762 6", "names of others are not answered for", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		for _, name := range []dns.Name{"other.local", "local", "", "kms.local.local", "kms", "_kcrypt._tcp.local"} {
			c.want(len(e.asks(time.Second, question(name, dns.TypeANY))) == 0, "answered for %q", name)
		}
	}},
	{"RFC 6762 6", "queries of class ANY are answered, of other classes not", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		for class, want := range map[uint16]int{dns.ClassANY: 1, 3: 0} {
			m := question("kms.local", dns.TypeA)
			m.Questions[0].Class = class
			c.want(len(e.asks(time.Second, m)) == want, "class %d: want %d answers", class, want)
			time.Sleep(time.Second)
		}
	}},
	{"RFC 6762 6.5", "a query for any type gets all records of the name", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms._latchkey._tcp.local", dns.TypeANY)))
		c.want(len(p.Answers) == 2 && has(p.Answers, "Port:8443") && has(p.Answers, "v=1"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6", "a record is multicast once a second at most", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		n := 0
		for range 40 {
			n += len(e.asks(100*time.Millisecond, question("kms.local", dns.TypeA)))
		}
		c.want(n == 4, "%d answers in 4 s", n)
	}},
	{"RFC 6762 6", "a probe for a name of ours is answered in time, 250 ms after the last answer", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		m := probe("kms.local", a("kms.local", "192.0.2.66"))
		c.want(len(e.asks(10*time.Millisecond, m)) == 1, "no answer to the first probe")
		time.Sleep(240 * time.Millisecond)
		c.want(len(e.asks(10*time.Millisecond, m)) == 1, "no answer to the second probe")
	}},
	{"RFC 6762 6.1", "a type that a name of ours has not is denied", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms.local", dns.TypeAAAA)))
		c.want(show(p.Answers) == "kms.local 120 flush {Next:kms.local Types:\x00\x01\x40}\n", "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6.1", "a type that we do not know is denied, too", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms.local", 65)))
		c.want(has(p.Answers, "Next:kms.local"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6.1", "a denial comes beside an address of one version", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(has(p.Additionals, "Next:kms.local"), "additional\n%s", show(p.Additionals))
	}},
	{"RFC 6762 6.1", "names of shared records are not denied", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypeA))) == 0, "denied")
	}},
	{"RFC 6762 6.1", "denials are sent once a second at most", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		n := 0
		for range 20 {
			n += len(e.asks(100*time.Millisecond, question("kms.local", dns.TypeAAAA)))
		}
		c.want(n == 2, "%d denials in 2 s", n)
	}},
	{"RFC 6762 6.2", "A and AAAA come together", func(c *conf) {
		both := kms
		both.Addrs = append(slices.Clone(both.Addrs), netip.MustParseAddr("2001:db8::5"))
		c.settled(both)
		p := c.one(c.ear(2).asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(has(p.Additionals, "2001:db8::5"), "additional\n%s", show(p.Additionals))
	}},
	{"RFC 6762 6.3", "several questions in one query are all answered", func(c *conf) {
		c.settled(kms)
		m := question("kms.local", dns.TypeA)
		m.Questions = append(m.Questions, dns.Question{Name: "kms._latchkey._tcp.local", Type: dns.TypeTXT})
		p := c.one(c.ear(2).asks(time.Second, m))
		c.want(has(p.Answers, "192.0.2.5") && has(p.Answers, "v=1"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6.4", "answers that wait are sent together", func(c *conf) {
		other := kms
		other.Host, other.Instance, other.Services = "other.local", "other", []string{"_kcrypt._tcp"}
		c.settled(kms, other)
		e := c.ear(2)
		e.say(question("_latchkey._tcp.local", dns.TypePTR))
		p := c.one(e.asks(time.Second, question("_kcrypt._tcp.local", dns.TypePTR)))
		c.want(has(p.Answers, "Target:kms._latchkey") && has(p.Answers, "Target:other._kcrypt"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 6.4", "no answer is held for more than half a second, whatever else is asked", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		e.say(question("_latchkey._tcp.local", dns.TypePTR))
		answered := false
		for range 50 {
			answered = answered || len(e.asks(10*time.Millisecond, question("_services._dns-sd._udp.local", dns.TypePTR))) > 0
		}
		c.want(answered, "no answer in 500 ms of questions")
	}},
	{"RFC 6762 5.4", "a question for a unicast answer gets one", func(c *conf) {
		c.settled(kms)
		e, other := c.ear(2), c.ear(3)
		e.asks(time.Second, question("kms.local", dns.TypeA)) // so that everybody has heard of it
		other.packets(time.Second)
		p := c.one(e.asks(10*time.Millisecond, direct("kms.local", dns.TypeA)))
		c.want(has(p.Answers, "192.0.2.5") && len(responses(other.packets(time.Second))) == 0, "answered to everybody")
	}},
	{"RFC 6762 5.4", "such an answer is multicast as well if that is a quarter of the TTL ago", func(c *conf) {
		c.settled(kms)
		c.ear(2).asks(time.Second, question("kms.local", dns.TypeA))
		time.Sleep(31 * time.Second)
		other := c.ear(3)
		c.ear(2).say(direct("kms.local", dns.TypeA))
		c.want(len(responses(other.packets(time.Second))) == 1, "nobody else heard of it")
	}},
	{"RFC 6762 11", "an asker of another network gets a multicast answer: a unicast one it would have to drop", func(c *conf) { // faults/network.md D1
		c.settled(kms)
		c.ear(2).asks(2*time.Second, question("kms.local", dns.TypeA)) // so that everybody has heard of it
		far := ear{c.T, host{c.lan, netip.MustParseAddr("198.51.100.9")}.raw(5353)}
		other := c.ear(3)
		far.say(direct("kms.local", dns.TypeA))
		c.want(len(responses(other.packets(time.Second))) == 1, "no multicast answer")
	}},
	{"RFC 6762 5.5", "chosen: a query that is sent to this machine is left to the other programs on the port", func(c *conf) { // faults/network.md D2
		c.settled(kms)
		e := c.ear(2)
		e.conn.WriteTo(pack(c.T, question("kms.local", dns.TypeA)), at(c.lan, 1).raw(1).LocalAddr())
		c.want(len(responses(e.packets(time.Second))) == 0, "answered")
	}},
	{"RFC 6762 18.3", "queries and answers with another opcode are ignored", func(c *conf) {
		c.settled(kms)
		m := question("kms.local", dns.TypeA)
		m.Opcode = 4
		c.want(len(c.ear(2).asks(time.Second, m)) == 0, "answered")
	}},
	{"RFC 6762 18.11", "queries and answers with an error code are ignored", func(c *conf) {
		c.settled(kms)
		m := question("kms.local", dns.TypeA)
		m.RCode = 3
		c.want(len(c.ear(2).asks(time.Second, m)) == 0, "answered")
	}},
	{"RFC 6762 18.1", "a multicast answer has id 0, whatever the query has", func(c *conf) {
		c.settled(kms)
		m := question("kms.local", dns.TypeA)
		m.ID = 77
		c.want(c.one(c.ear(2).asks(time.Second, m)).ID == 0, "another id")
	}},
	{"RFC 6762 6", "a multicast answer repeats no question", func(c *conf) {
		c.settled(kms)
		c.want(len(c.one(c.ear(2).asks(time.Second, question("kms.local", dns.TypeA))).Questions) == 0, "a question")
	}},
	{"RFC 6762 16", "names are compared without case, but of ASCII letters only", func(c *conf) {
		odd := kms
		odd.Instance = "Ärger"
		c.settled(odd)
		e := c.ear(2)
		c.want(len(e.asks(time.Second, question("ÄRGER._LATCHKEY._tcp.LOCAL", dns.TypeSRV))) == 1, "another case of ASCII is another name")
		time.Sleep(time.Second)
		c.want(len(e.asks(time.Second, question("ärger._latchkey._tcp.local", dns.TypeSRV))) == 0, "another case of Ä is the same name")
	}},
	{"RFC 6762 4", "chosen: addresses are not mapped back to names: the name is a role, not the machine's", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, question("5.2.0.192.in-addr.arpa", dns.TypePTR))) == 0, "answered")
	}},
	{"RFC 6762 9", "a challenge is answered once a second at most", func(c *conf) {
		r := c.settled(kms)
		e := c.ear(66)
		n := 0
		for range 200 {
			n += len(e.asks(10*time.Millisecond, answers(alone(a("kms.local", "192.0.2.66")))))
		}
		c.want(n == 2 && r.Stats().Challenges == 200, "%d answers to %d challenges in 2 s", n, r.Stats().Challenges)
	}},
	{"RFC 6762 6.6", "a record that another machine says goodbye to is said again within the second of grace", func(c *conf) { // faults/network.md D3
		c.settled(kms)
		p := c.one(c.ear(2).asks(2*time.Second, answers(with(kmsA, 0), with(kmsPTR, 0))))
		c.want(p.after < time.Second && has(p.Answers, "kms.local 120") && has(p.Answers, "_latchkey._tcp.local 4500"), "after %s\n%s", p.after, show(p.Answers))
	}},
	{"RFC 6762 6.6", "so is one with less than half of our TTL", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		c.want(len(e.asks(2*time.Second, answers(with(kmsA, 60)))) == 0, "said again although half of its time is left")
		c.want(len(e.asks(2*time.Second, answers(with(kmsA, 59)))) == 1, "not said again")
	}},
	{"RFC 6762 6.6", "even if it was said within the last second, when a second is over", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		c.want(len(e.asks(500*time.Millisecond, question("kms.local", dns.TypeA))) == 1, "no answer")
		p := c.one(e.asks(2*time.Second, answers(with(kmsA, 0))))
		c.want(p.after < time.Second, "said again %s after the goodbye", p.after)
	}},
	{"RFC 6762 6.6", "not if a third machine has said it meanwhile", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		e.say(answers(with(kmsA, 0)))
		time.Sleep(5 * time.Millisecond)
		c.want(len(e.asks(2*time.Second, answers(kmsA))) == 0, "said again")
	}},
	{"RFC 6762 11", "goodbyes for what is not ours are nothing to us", func(c *conf) {
		r := c.settled(kms)
		c.want(len(c.ear(2).asks(2*time.Second, answers(with(a("kms.local", "192.0.2.66"), 0)))) == 0 && r.Stats().Challenges == 0, "answered")
	}},
	{"RFC 6762 6", "two key servers of one machine are both answered for", func(c *conf) {
		other := kms
		other.Host, other.Instance = "other.local", "other"
		c.settled(kms, other)
		p := c.one(c.ear(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
		c.want(has(p.Answers, "Target:kms.") && has(p.Answers, "Target:other."), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 8.3", "what is announced no more is not answered for", func(c *conf) {
		r := c.settled(kms)
		r.Announce(nil)
		c.want(len(c.ear(2).asks(time.Second, question("kms.local", dns.TypeA))) <= 1, "answered")
		c.want(len(c.ear(3).asks(time.Second, question("kms.local", dns.TypeA))) == 0, "answered")
		r.Announce([]discover.Announcement{kms})
	}},
}
