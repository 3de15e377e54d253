package discover_test

import (
	"time"

	"latchkey/discover/dns"
)

// simple is a resolver that asks from a port of its own.
func (c *conf) simple(n byte) ear { return ear{c.T, at(c.lan, n).raw(40000)} }

var legacyChecks = []check{
	{"RFC 6762 6.7", "a simple resolver gets a unicast answer at its own port", func(c *conf) {
		c.settled(kms)
		other := c.ear(3)
		p := c.one(c.simple(2).asks(time.Second, question("kms.local", dns.TypeA)))
		c.want(has(p.Answers, "192.0.2.5") && len(responses(other.packets(time.Second))) == 0, "answered to everybody")
	}},
	{"RFC 6762 6.7", "with its id and its question", func(c *conf) {
		c.settled(kms)
		m := question("KMS.local", dns.TypeA)
		m.ID, m.Recurse = 4711, true
		p := c.one(c.simple(2).asks(time.Second, m))
		c.want(p.ID == 4711 && len(p.Questions) == 1 && p.Questions[0].Name == "KMS.local" && p.Questions[0].Type == dns.TypeA, "header %+v", p.Message)
	}},
	{"RFC 6762 6.7", "with TTLs of at most 10 s", func(c *conf) {
		c.settled(kms)
		for _, r := range c.one(c.simple(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR))).Answers {
			c.want(r.TTL <= 10, "answered %+v", r)
		}
	}},
	{"RFC 6762 6.7", "without the flush bit", func(c *conf) {
		c.settled(kms)
		c.want(!has(c.one(c.simple(2).asks(time.Second, question("kms.local", dns.TypeA))).Answers, "flush"), "flush bit")
	}},
	{"RFC 6762 6.7", "without denials, which it would not understand", func(c *conf) {
		c.settled(kms)
		c.want(len(c.simple(2).asks(time.Second, question("kms.local", dns.TypeAAAA))) == 0, "answered")
	}},
	{"RFC 6762 6.7", "and silence about names of others", func(c *conf) {
		c.settled(kms)
		c.want(len(c.simple(2).asks(time.Second, question("other.local", dns.TypeA))) == 0, "answered")
	}},
	{"RFC 6762 6.7", "as often as it asks: there is no limit of one a second", func(c *conf) {
		c.settled(kms)
		e := c.simple(2)
		for range 5 {
			c.one(e.asks(100*time.Millisecond, question("kms.local", dns.TypeA)))
		}
	}},
	{"RFC 6762 6.7", "a service with all that belongs to it, address before text, as Kairos reads it", func(c *conf) {
		c.settled(kms)
		p := c.one(c.simple(2).asks(time.Second, question("_latchkey._tcp.local", dns.TypePTR)))
		kinds := ""
		for _, r := range p.Answers {
			kinds += map[dns.Type]string{dns.TypePTR: "PTR ", dns.TypeSRV: "SRV ", dns.TypeA: "A ", dns.TypeTXT: "TXT "}[r.Data.Type()]
		}
		c.want(kinds == "PTR SRV A TXT ", "answered %s", kinds)
	}},
	{"RFC 6762 5.4", "the bit for unicast answers is not repeated in its question", func(c *conf) {
		c.settled(kms)
		c.want(!c.one(c.simple(2).asks(time.Second, direct("kms.local", dns.TypeA))).Questions[0].Unicast, "bit repeated")
	}},
}
