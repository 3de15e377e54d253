package discover_test

import (
	"time"

	"latchkey/discover/dns"
)

// knowing adds known answers to a query.
func knowing(m dns.Message, known ...dns.Record) dns.Message { m.Answers = known; return m }

var suppressChecks = []check{
	{"RFC 6762 7.1", "an answer that the asker knows is not given", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, knowing(question("_latchkey._tcp.local", dns.TypePTR), kmsPTR))) == 0, "answered")
	}},
	{"RFC 6762 7.1", "with exactly half of the TTL it counts as known", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, knowing(question("_latchkey._tcp.local", dns.TypePTR), with(kmsPTR, 2250)))) == 0, "answered")
	}},
	{"RFC 6762 7.1", "with less it does not", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, knowing(question("_latchkey._tcp.local", dns.TypePTR), with(kmsPTR, 2249)))) == 1, "not answered")
	}},
	{"RFC 6762 7.1", "records that are ours alone may be known, too", func(c *conf) {
		c.settled(kms)
		c.want(len(c.ear(2).asks(time.Second, knowing(question("kms.local", dns.TypeA), kmsA))) == 0, "answered")
	}},
	{"RFC 6762 7.1", "other data of the name is not known", func(c *conf) {
		c.settled(kms)
		p := c.one(c.ear(2).asks(time.Second, knowing(question("kms.local", dns.TypeA), a("kms.local", "192.0.2.66"))))
		c.want(has(p.Answers, "192.0.2.5"), "answered\n%s", show(p.Answers))
	}},
	{"RFC 6762 7.1", "a list of known answers is no announcement: it is not believed, nor a conflict", func(c *conf) {
		r := c.settled(kms)
		c.ear(66).asks(time.Second, knowing(question("kms.local", dns.TypeA), a("kms.local", "192.0.2.66")))
		c.want(r.Stats().Challenges == 0, "taken for a challenge")
	}},
	{"RFC 6762 7.2", "the rest of a truncated list is waited for", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		m := question("_latchkey._tcp.local", dns.TypePTR)
		m.Truncated = true
		e.say(m)
		time.Sleep(10 * time.Millisecond)
		c.want(len(e.asks(2*time.Second, dns.Message{Answers: []dns.Record{kmsPTR}})) == 0, "answered")
	}},
	{"RFC 6762 7.2", "if it does not come, the answer does, after 400 to 500 ms", func(c *conf) {
		c.settled(kms)
		m := question("kms.local", dns.TypeA)
		m.Truncated = true
		p := c.one(c.ear(2).asks(2*time.Second, m))
		c.want(p.after >= 400*time.Millisecond && p.after <= 530*time.Millisecond, "answered after %s", p.after)
	}},
	{"RFC 6762 7.2", "another machine's list does not count", func(c *conf) {
		c.settled(kms)
		m := question("_latchkey._tcp.local", dns.TypePTR)
		m.Truncated = true
		c.ear(2).say(m)
		time.Sleep(10 * time.Millisecond)
		c.want(len(c.ear(3).asks(2*time.Second, dns.Message{Answers: []dns.Record{kmsPTR}})) == 1, "not answered")
	}},
	{"RFC 6762 7.2", "many that begin a list and never end it do not keep others from being answered", func(c *conf) {
		c.settled(kms)
		m := question("_latchkey._tcp.local", dns.TypePTR)
		m.Truncated = true
		for n := byte(20); n < 220; n++ {
			c.ear(n).say(m)
		}
		c.want(len(c.ear(2).asks(10*time.Millisecond, question("kms.local", dns.TypeA))) == 1, "not answered")
	}},
	{"RFC 6762 7.4", "an answer that another machine gives first is called off", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		e.say(question("_latchkey._tcp.local", dns.TypePTR))
		time.Sleep(5 * time.Millisecond)
		c.want(len(e.asks(time.Second, answers(kmsPTR))) == 0, "answered, too")
	}},
	{"RFC 6762 7.4", "not if that has less than half of our TTL", func(c *conf) {
		c.settled(kms)
		e := c.ear(2)
		e.say(question("_latchkey._tcp.local", dns.TypePTR))
		time.Sleep(5 * time.Millisecond)
		c.want(len(e.asks(time.Second, answers(with(kmsPTR, 2000)))) == 1, "called off")
	}},
	{"RFC 6762 6", "askers of unicast answers are all answered, however many wait", func(c *conf) { // faults/network.md, low: schedule
		c.settled(kms)
		var all []ear
		for n := range 100 { // more than replies may wait
			all = append(all, c.ear(byte(100+n)))
			all[n].say(direct("_latchkey._tcp.local", dns.TypePTR))
		}
		time.Sleep(time.Second)
		silent := 0
		for _, e := range all {
			if len(responses(e.packets(time.Millisecond))) == 0 {
				silent++
			}
		}
		c.want(silent == 0, "%d of 100 askers are not answered", silent)
		c.want(len(c.ear(3).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR))) == 1, "silent after many questions")
	}},
}
