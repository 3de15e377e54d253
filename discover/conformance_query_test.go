package discover_test

import (
	"net"
	"net/netip"
	"slices"
	"testing/synctest"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
)

// heardOf lets the finder hear of a key server.
func (c *conf) heardOf(f *discover.Finder, records ...dns.Record) {
	c.Helper()
	synctest.Wait()
	c.ear(1).say(answers(records...))
	if got := next(c.ctx, f, time.Second); got == "none" {
		c.Fatal("the finder did not hear of the key server")
	}
}

var queryChecks = []check{
	{"RFC 6762 5.3", "all questions are in one query", func(c *conf) {
		e := c.ear(2)
		c.find()
		p := c.one(queries(e.packets(500 * time.Millisecond)))
		c.want(len(p.Questions) == 3, "questions %+v, want A, AAAA and PTR", p.Questions)
	}},
	{"RFC 6762 5.2", "chosen: the first query is sent without a pause: a boot waits for it", func(c *conf) {
		e := c.ear(2)
		c.find()
		c.want(c.one(queries(e.packets(500*time.Millisecond))).after <= 2*time.Millisecond, "sent late")
	}},
	{"RFC 6762 5.2", "the first two queries are a second apart, the others ever further", func(c *conf) {
		e := c.ear(2)
		c.find()
		heard := queries(e.packets(time.Minute))
		for i := 2; i < len(heard); i++ {
			last, now := heard[i-1].after-heard[i-2].after, heard[i].after-heard[i-1].after
			c.want(last >= 900*time.Millisecond && now >= 2*last*8/11, "pause of %s after one of %s", now, last)
		}
	}},
	{"RFC 6762 5.2", "chosen: the pause stops growing at a minute, not at an hour", func(c *conf) {
		e := c.ear(2)
		c.find()
		time.Sleep(time.Hour)
		e.packets(time.Millisecond)
		n := len(queries(e.packets(time.Hour)))
		c.want(n >= 55 && n <= 66, "%d queries in an hour", n)
	}},
	{"RFC 6762 5.4", "the first query wants unicast answers, the others do not", func(c *conf) {
		e := c.ear(2)
		c.find()
		for i, p := range queries(e.packets(20 * time.Second)) {
			for _, q := range p.Questions {
				c.want(q.Unicast == (i == 0), "query %d: %+v", i, q)
			}
		}
	}},
	{"RFC 6762 11", "a machine whose address has no network wants none: it would have to drop them", func(c *conf) { // faults/network.md D1
		e := c.ear(2)
		f, err := discover.NewFinder(discover.Query{URLs: []string{"http://kms.local"}}, at(c.lan, 10), logger(c.T))
		if err != nil {
			c.Fatal(err)
		}
		f.Update([]discover.Interface{{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")}}})
		go f.Run(c.ctx)
		c.want(!queries(e.packets(500 * time.Millisecond))[0].Questions[0].Unicast, "asked for unicast answers")
	}},
	{"RFC 6762 18", "queries have id 0, no flags and no other sections", func(c *conf) {
		e := c.ear(2)
		c.find()
		for _, p := range queries(e.packets(20 * time.Second)) {
			c.want(p.ID == 0 && !p.Authoritative && !p.Recurse && !p.Truncated && len(p.Authorities)+len(p.Additionals) == 0, "query %+v", p.Message)
		}
	}},
	{"RFC 6762 7.1", "what is known is listed in the query", func(c *conf) { // faults/network.md, low
		f := c.find()
		c.heardOf(f, kmsA, kmsPTR, kmsSRV)
		e := c.ear(2)
		p := queries(e.packets(30 * time.Second))[0]
		c.want(has(p.Answers, "192.0.2.5") && has(p.Answers, "Target:kms._latchkey"), "known\n%s", show(p.Answers))
	}},
	{"RFC 6762 7.1", "with what is left of its time, and no more when half of that is over", func(c *conf) {
		f := c.find()
		c.heardOf(f, kmsA)
		e := c.ear(2)
		for _, p := range queries(e.packets(100 * time.Second)) {
			age := p.after
			listed := has(p.Answers, "192.0.2.5")
			c.want(listed == (age < 60*time.Second) || age > 59*time.Second && age < 61*time.Second, "at the age of %s listed: %v", age, listed)
			for _, r := range p.Answers {
				left := 120*time.Second - age
				c.want(time.Duration(r.TTL)*time.Second <= left+time.Second && time.Duration(r.TTL)*time.Second >= left-2*time.Second, "TTL %d with %s left", r.TTL, left)
			}
		}
	}},
	{"RFC 6762 7.1", "an instance whose server is not known is not listed", func(c *conf) {
		c.find()
		synctest.Wait()
		c.ear(1).say(answers(kmsPTR))
		e := c.ear(2)
		for _, p := range queries(e.packets(30 * time.Second)) {
			c.want(!has(p.Answers, "Target:kms._latchkey"), "known\n%s", show(p.Answers))
		}
	}},
	{"RFC 6762 5.2", "what runs out is asked for at 80 percent of its time, and is then still there", func(c *conf) {
		c.settled(kms)
		f := c.find()
		for range 2 { // the host and the service
			if next(c.ctx, f, time.Second) == "none" {
				c.Fatal("not found")
			}
		}
		f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, time.Hour)
		c.want(next(c.ctx, f, time.Hour+time.Second) == "192.0.2.5:7741", "not there after an hour")
	}},
	{"RFC 6762 7.3", "another machine's question stands for ours", func(c *conf) {
		e := c.ear(2)
		c.find()
		e.packets(9 * time.Second) // to the question at 7 s; the next is at 15 s
		m := question("kms.local", dns.TypeA)
		m.Questions = append(m.Questions, question("kms.local", dns.TypeAAAA).Questions[0], question("_latchkey._tcp.local", dns.TypePTR).Questions[0])
		e.say(m)
		c.want(len(queries(e.packets(10*time.Second))) == 0, "asked, too")
	}},
	{"RFC 6762 7.3", "not if it asks for less, knows more, or wants unicast answers", func(c *conf) {
		full := question("kms.local", dns.TypeA)
		full.Questions = append(full.Questions, question("kms.local", dns.TypeAAAA).Questions[0], question("_latchkey._tcp.local", dns.TypePTR).Questions[0])
		unicast := full
		unicast.Questions = slices.Clone(full.Questions)
		unicast.Questions[0].Unicast = true
		e := c.ear(2)
		c.find()
		e.packets(9 * time.Second)
		for _, m := range []dns.Message{question("kms.local", dns.TypeA), knowing(full, kmsA), unicast} {
			e.say(m)
		}
		c.want(len(queries(e.packets(10*time.Second))) == 1, "did not ask")
	}},
	{"RFC 6762 7.3", "chosen: never twice in a row, so that nobody can keep us silent", func(c *conf) {
		full := question("kms.local", dns.TypeA)
		full.Questions = append(full.Questions, question("kms.local", dns.TypeAAAA).Questions[0], question("_latchkey._tcp.local", dns.TypePTR).Questions[0])
		e := c.ear(66)
		c.find()
		asked := 0
		for range 600 {
			e.say(full)
			asked += len(queries(e.packets(time.Second)))
		}
		c.want(asked >= 6, "asked %d times in ten minutes beside a machine that asks every second", asked)
	}},
	{"RFC 6762 11", "a multicast answer counts, whatever network its source is of", func(c *conf) { // faults/network.md D1
		f := c.find()
		synctest.Wait()
		ear{c.T, host{c.lan, netip.MustParseAddr("198.51.100.9")}.raw(5353)}.say(answers(kmsA))
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "not heard")
	}},
	{"RFC 6762 11", "a unicast answer counts only from the link's network", func(c *conf) {
		f := c.find()
		synctest.Wait()
		to := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 5353}
		host{c.lan, netip.MustParseAddr("198.51.100.9")}.raw(5353).WriteTo(pack(c.T, answers(a("kms.local", "192.0.2.66"))), to)
		c.want(next(c.ctx, f, time.Second) == "none", "believed from another network")
		at(c.lan, 1).raw(5353).WriteTo(pack(c.T, answers(kmsA)), to)
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "not believed from the link's own")
	}},
	{"RFC 6762 6", "answers from another port than 5353 are ignored", func(c *conf) {
		f := c.find()
		synctest.Wait()
		c.simple(1).say(answers(kmsA))
		c.want(next(c.ctx, f, time.Second) == "none", "believed")
	}},
	{"RFC 6762 18.1", "the id and the question of an answer do not matter", func(c *conf) {
		f := c.find()
		m := answers(kmsA)
		m.ID, m.Questions = 99, question("kms.local", dns.TypeA).Questions
		synctest.Wait()
		c.ear(1).say(m)
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "not heard")
	}},
	{"RFC 6762 10.1", "after a goodbye a record lives for a second", func(c *conf) { // faults/network.md D3
		f := c.find()
		c.heardOf(f, kmsA)
		f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, 0)
		c.ear(1).say(answers(with(kmsA, 0)))
		time.Sleep(900 * time.Millisecond)
		c.want(next(c.ctx, f, time.Millisecond) == "192.0.2.5:7741", "gone at once")
		f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, 0)
		time.Sleep(150 * time.Millisecond)
		c.want(next(c.ctx, f, time.Hour) == "none", "still there")
	}},
	{"RFC 6762 10.1", "and is asked for meanwhile", func(c *conf) { // faults/network.md D3
		f := c.find()
		time.Sleep(10 * time.Minute)
		c.heardOf(f, kmsA)
		e := c.ear(2)
		e.untilQuery() // the next question is a minute away, about
		time.Sleep(5 * time.Second)
		e.say(answers(with(kmsA, 0)))
		heard := queries(e.packets(900 * time.Millisecond))
		c.want(len(heard) == 1 && heard[0].after <= 122*time.Millisecond, "%d queries", len(heard)) // the pause, and the way there and back
	}},
	{"RFC 6762 10.1", "goodbyes for what is not known are nothing: nobody can make all machines ask", func(c *conf) {
		c.find()
		time.Sleep(10 * time.Minute)
		e := c.ear(66)
		e.packets(time.Millisecond)
		asked := 0
		for i := range 60 {
			e.say(answers(with(a("kms.local", "10.0.0."+string(rune('1'+i%9))), 0)))
			asked += len(queries(e.packets(time.Second)))
		}
		c.want(asked <= 2, "%d queries in a minute of goodbyes", asked)
	}},
	{"RFC 6762 5.2", "a flood of records that run out one by one does not make us ask all the time", func(c *conf) {
		c.find()
		time.Sleep(10 * time.Minute)
		e := c.ear(66)
		e.packets(time.Millisecond)
		asked := 0
		for i := range 300 {
			e.say(answers(record("kms.local", dns.A{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})))
			asked += len(queries(e.packets(time.Second)))
		}
		c.want(asked <= 5*60/15+1, "%d queries in five minutes", asked)
	}},
	{"RFC 6762 10.1", "another machine that has it keeps it alive", func(c *conf) { // faults/network.md D3
		f := c.find()
		c.heardOf(f, kmsA)
		e := c.ear(2)
		e.say(answers(with(kmsA, 0)))
		time.Sleep(500 * time.Millisecond)
		e.say(answers(kmsA))
		time.Sleep(10 * time.Second)
		f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, 0)
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "gone")
	}},
	{"RFC 6762 10.2", "chosen: the flush bit of an answer removes nothing: the last speaker may be a liar", func(c *conf) {
		f := c.find()
		c.heardOf(f, kmsA)
		c.ear(66).say(answers(alone(a("kms.local", "192.0.2.66"))))
		c.want(next(c.ctx, f, time.Second) == "192.0.2.66:7741", "the other is not heard")
		f.SetAside(discover.Candidate{Addr: netip.MustParseAddrPort("192.0.2.5:7741"), URL: "http://kms.local"}, 0)
		c.want(next(c.ctx, f, time.Second) == "192.0.2.5:7741", "gone")
	}},
	{"RFC 6762 3", "names under .local are asked for by multicast", func(c *conf) {
		e := c.ear(2)
		at(c.lan, 10).find(c.T, c.ctx, discover.Query{URLs: []string{"http://kms.corp.local", "http://kms.example.com", "http://192.0.2.7"}})
		p := queries(e.packets(500 * time.Millisecond))[0]
		c.want(len(p.Questions) == 2 && p.Questions[0].Name == "kms.corp.local", "questions %+v", p.Questions)
	}},
	{"RFC 6762 17", "queries that do not fit into one packet are split", func(c *conf) { // faults/network.md D6
		e := c.ear(2)
		var q discover.Query
		for i := range 12 {
			q.URLs = append(q.URLs, "http://"+string(rune('a'+i))+long(200)+".local")
		}
		at(c.lan, 10).find(c.T, c.ctx, q)
		asked := 0
		for _, p := range queries(e.packets(500 * time.Millisecond)) {
			c.want(p.size <= 1472, "query of %d bytes", p.size)
			asked += len(p.Questions)
		}
		c.want(asked == 24, "%d questions, want 24", asked)
	}},
}

// long is a name of about n bytes.
func long(n int) string {
	var out []byte
	for len(out) < n {
		out = append(out, ".123456789012345678901234567890123456789"...)
	}
	return string(out)
}
