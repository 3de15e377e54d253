package discover_test

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

// probe is another machine's probe for a name.
func probe(name dns.Name, proposed ...dns.Record) dns.Message {
	return dns.Message{Questions: []dns.Question{{Name: name, Type: dns.TypeANY}}, Authorities: proposed}
}

var probeChecks = []check{
	{"RFC 6762 8.1", "three probes are sent before anything is said", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		heard := ours(e.packets(2 * time.Second))
		c.want(len(heard) > 3 && len(queries(heard[:3])) == 3 && heard[3].Response, "heard %d packets, want three probes and an announcement", len(heard))
	}},
	{"RFC 6762 8.1", "probes are 250 ms apart, and so is the announcement from the last", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		heard := ours(e.packets(2 * time.Second))
		for i := range 3 {
			c.want(heard[i+1].after-heard[i].after == 250*time.Millisecond, "pause %d is %s", i, heard[i+1].after-heard[i].after)
		}
	}},
	{"RFC 6762 8.1", "the first probe waits for 0 to 250 ms, by chance", func(c *conf) {
		seen := map[time.Duration]bool{}
		for n := byte(20); n < 30; n++ {
			e := c.ear(n + 100)
			other := kms
			other.Host = fmt.Sprintf("kms%d.local", n)
			at(c.lan, 1).answer(c.T, c.ctx, other)
			first := ours(e.packets(255 * time.Millisecond))[0].after
			c.want(first <= 251*time.Millisecond, "first probe after %s", first)
			seen[first] = true
			time.Sleep(time.Minute)
		}
		c.want(len(seen) > 5, "%d different pauses in ten starts, want them to differ", len(seen))
	}},
	{"RFC 6762 8.1", "probes ask for any type", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, p := range queries(e.packets(2 * time.Second)) {
			for _, q := range p.Questions {
				c.want(q.Type == dns.TypeANY && q.Class == dns.ClassIN, "question %+v", q)
			}
		}
	}},
	{"RFC 6762 8.1", "chosen: probes want multicast answers, not unicast ones that another program on the port would get", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, p := range queries(e.packets(2 * time.Second)) {
			c.want(!slices.ContainsFunc(p.Questions, func(q dns.Question) bool { return q.Unicast }), "probe %+v", p.Questions)
		}
	}},
	{"RFC 6762 8.1", "all names are probed for in one message", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		p := queries(e.packets(2 * time.Second))[0]
		c.want(len(p.Questions) == 2, "questions %+v, want the host's and the instance's", p.Questions)
	}},
	{"RFC 6762 8.2", "probes propose the records in the authority section", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		p := queries(e.packets(2 * time.Second))[0]
		c.want(has(p.Authorities, "192.0.2.5") && has(p.Authorities, "Port:8443") && has(p.Authorities, "v=1"), "proposed\n%s", show(p.Authorities))
	}},
	{"RFC 6762 10.2", "no proposed record has the flush bit", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, p := range queries(e.packets(2 * time.Second)) {
			c.want(!has(p.Authorities, "flush"), "proposed\n%s", show(p.Authorities))
		}
	}},
	{"RFC 6762 8.1", "shared records are not probed for", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		for _, p := range queries(e.packets(2 * time.Second)) {
			c.want(!slices.ContainsFunc(p.Questions, func(q dns.Question) bool { return q.Name == "_latchkey._tcp.local" }), "questions %+v", p.Questions)
		}
	}},
	{"RFC 6762 8.1", "a name that is being probed for is not answered for", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		e.packets(300 * time.Millisecond)
		c.want(len(e.asks(200*time.Millisecond, question("kms.local", dns.TypeA))) == 0, "answered before the probes were over")
	}},
	{"RFC 6762 8.1", "names that are ours are answered for while a new one is probed for", func(c *conf) {
		r := c.settled(kms)
		other := kms
		other.Host, other.Instance = "new.local", "new"
		r.Announce([]discover.Announcement{kms, other})
		e := c.ear(2)
		e.packets(300 * time.Millisecond)
		c.want(len(e.asks(100*time.Millisecond, question("kms.local", dns.TypeA))) == 1, "silent about kms.local while new.local is probed for")
		c.want(len(e.asks(10*time.Millisecond, question("new.local", dns.TypeA))) == 0, "answered for new.local before the probes were over")
	}},
	{"RFC 6762 8.1", "an answer while probing is a conflict: another name is taken", func(c *conf) {
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(answers(alone(a("kms.local", "192.0.2.66"))))
		time.Sleep(5 * time.Second)
		c.want(r.Announcements()[0].Host == "kms-2.local", "the name is %s", r.Announcements()[0].Host)
	}},
	{"RFC 6762 8.1", "a record of any type is a conflict while probing", func(c *conf) {
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(answers(record("kms.local", dns.Text("x"))))
		time.Sleep(5 * time.Second)
		c.want(r.Announcements()[0].Host == "kms-2.local", "the name is %s", r.Announcements()[0].Host)
	}},
	{"RFC 6762 9", "the new name is probed for, too", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		e.untilQuery()
		e.say(answers(alone(a("kms.local", "192.0.2.66"))))
		probed := 0
		for _, p := range queries(e.packets(5 * time.Second)) {
			if slices.ContainsFunc(p.Questions, func(q dns.Question) bool { return q.Name == "kms-2.local" }) {
				probed++
			}
		}
		c.want(probed == 3, "%d probes for the new name", probed)
	}},
	{"RFC 6762 8.1", "after 15 conflicts a new name is tried every 5 s only", func(c *conf) {
		e := c.ear(66)
		r := c.start(kms)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			for _, p := range queries(e.packets(10 * time.Millisecond)) {
				for _, q := range p.Questions {
					e.say(answers(alone(a(q.Name, "192.0.2.66"))))
				}
			}
		}
		n := r.Stats().Conflicts
		c.want(n > 15 && n <= 15+2+2*60/5, "%d conflicts in a minute with a machine that objects to all names", n)
	}},
	{"RFC 6762 8.2", "the winner of a tie goes on", func(c *conf) {
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(probe("kms.local", a("kms.local", "10.0.0.1")))
		heard := ours(e.packets(time.Second))
		c.want(len(responses(heard)) > 0 && r.Announcements()[0].Host == "kms.local", "not announced within a second")
	}},
	{"RFC 6762 8.2", "the loser of a tie waits for a second and probes again", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		e.untilQuery()
		e.say(probe("kms.local", a("kms.local", "203.0.113.1")))
		heard := ours(e.packets(10 * time.Second))
		c.want(heard[0].after >= 990*time.Millisecond && len(queries(heard)) == 3, "%d probes more, the first after %s", len(queries(heard)), heard[0].after)
	}},
	{"RFC 6762 8.2.1", "in a tie the later type wins over the data", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		e.untilQuery()
		e.say(probe("kms.local", record("kms.local", dns.AAAA{Addr: netip.MustParseAddr("::1:2")})))
		heard := ours(e.packets(10 * time.Second))
		c.want(heard[0].after >= 990*time.Millisecond, "went on %s after a probe with an AAAA record", heard[0].after)
	}},
	{"RFC 6762 8.2", "a tie between equals is none", func(c *conf) {
		e := c.ear(2)
		c.start(kms)
		e.untilQuery()
		e.say(probe("kms.local", kmsA))
		c.want(len(responses(e.packets(time.Second))) > 0, "not announced within a second")
	}},
	{"RFC 6762 9", "chosen: a name that is ours is kept and defended, not probed for again", func(c *conf) {
		r := c.settled(kms)
		e := c.ear(66)
		heard := e.asks(5*time.Second, answers(alone(a("kms.local", "192.0.2.66"))))
		c.want(r.Announcements()[0].Host == "kms.local" && has(c.one(heard).Answers, "192.0.2.5"), "the name is %s", r.Announcements()[0].Host)
	}},
	{"RFC 6762 9", "the same record of another machine is no conflict", func(c *conf) {
		r := c.settled(kms)
		e := c.ear(66)
		c.want(len(e.asks(5*time.Second, answers(alone(kmsA)))) == 0 && r.Stats().Challenges == 0, "took the same record for a challenge")
	}},
	{"RFC 6762 9", "a name that was lost is taken back when it is free", func(c *conf) { // faults/network.md D10
		e := c.ear(2)
		r := c.start(kms)
		e.untilQuery()
		e.say(answers(alone(a("kms.local", "192.0.2.66"))))
		time.Sleep(5 * time.Second)
		c.want(r.Announcements()[0].Host == "kms-2.local", "the name is %s", r.Announcements()[0].Host)
		time.Sleep(11 * time.Minute)
		c.want(r.Announcements()[0].Host == "kms.local", "the name is %s after eleven minutes", r.Announcements()[0].Host)
		c.want(len(e.asks(time.Second, question("kms.local", dns.TypeA))) >= 1, "silent about the name")
	}},
	{"RFC 6762 8", "after a change of the link all is probed for and announced again", func(c *conf) { // faults/network.md D5
		r := c.settled(kms)
		e := c.ear(2)
		link := at(c.lan, 1).link()
		link[0].Epoch = 2
		r.Update(link)
		heard := ours(e.packets(10 * time.Second))
		c.want(len(queries(heard)) == 3 && len(responses(heard)) >= 2, "%d probes and %d announcements", len(queries(heard)), len(responses(heard)))
		c.want(!slices.ContainsFunc(responses(heard), func(p packet) bool { return p.Answers[0].TTL == 0 }), "said goodbye")
	}},
}
