package discover

import (
	"time"

	"latchkey/discover/dns"
)

// Limits of what one link's answers may cost.
const (
	maxInstances = 64
	maxAddresses = 256
)

// A record is believed no shorter than minTTL, because a legacy answer has
// at most 10 s (RFC 6762, section 6.7) and is asked for once a minute, and
// no longer than maxTTL.
const (
	minTTL = 2 * time.Minute
	maxTTL = 75 * time.Minute // RFC 6762, section 10
)

// A cache holds the records of one link. All of them are hints, so the
// flush bit is not honored: it would let the last speaker erase the
// others.
type cache struct {
	instances map[cacheKey]life // PTR, SRV, TXT
	addresses map[cacheKey]life // A, AAAA
}

// Data are comparable, so the record itself is the key.
type cacheKey struct {
	name dns.Name // lower case
	data dns.Data
}

func keyOf(r dns.Record) cacheKey { return cacheKey{r.Name.Key(), r.Data} }

// A life is how long a record is good for.
type life struct {
	heard   time.Time
	ttl     time.Duration // as it was said
	expires time.Time     // as it is believed
}

// left is how much of what was said is left.
func (l life) left(now time.Time) time.Duration { return l.ttl - now.Sub(l.heard) }

// isFresh tells whether a record may be listed as a known answer: more
// than half of its time is left (RFC 6762, section 7.1).
func (l life) isFresh(now time.Time) bool { return l.left(now) > l.ttl/2 }

func newCache() *cache {
	return &cache{map[cacheKey]life{}, map[cacheKey]life{}}
}

func (c *cache) of(t dns.Type) (map[cacheKey]life, int) {
	if t == dns.TypeA || t == dns.TypeAAAA {
		return c.addresses, maxAddresses
	}
	return c.instances, 3 * maxInstances
}

func (c *cache) put(r dns.Record) {
	records, limit := c.of(r.Data.Type())
	key := keyOf(r)
	if _, known := records[key]; !known && len(records) >= limit {
		makeRoom(records)
	}
	now, ttl := time.Now(), time.Duration(r.TTL)*time.Second
	records[key] = life{now, ttl, now.Add(min(max(ttl, minTTL), maxTTL))}
}

// makeRoom drops what has expired, else any record: map order is chance,
// so a flood cannot keep the true answer out for long.
func makeRoom(records map[cacheKey]life) {
	now, before := time.Now(), len(records)
	for k, l := range records {
		if now.After(l.expires) {
			delete(records, k)
		}
	}
	if len(records) < before {
		return
	}
	for k := range records {
		delete(records, k)
		return
	}
}

func (c *cache) remove(k cacheKey) {
	records, _ := c.of(k.data.Type())
	delete(records, k)
}

func (c *cache) has(k cacheKey) bool {
	records, _ := c.of(k.data.Type())
	_, known := records[k]
	return known
}

// each calls do with the data of a name, and how long it is good for.
func (c *cache) each(name dns.Name, t dns.Type, do func(dns.Data, life)) {
	records, _ := c.of(t)
	name = name.Key()
	now := time.Now()
	for k, l := range records {
		if k.name == name && k.data.Type() == t && now.Before(l.expires) {
			do(k.data, l)
		}
	}
}

// names returns the instances of a service that are known, by PTR or SRV.
func (c *cache) names(service dns.Name) map[dns.Name]dns.Name {
	out := map[dns.Name]dns.Name{} // lower case → as written
	for k := range c.instances {
		name := k.name
		if ptr, ok := k.data.(dns.PTR); ok && k.name == service.Key() {
			name = ptr.Target
		}
		if _, parent := name.Cut(); parent.Equal(service) && len(out) < maxInstances {
			if _, known := out[name.Key()]; !known || name != name.Key() {
				out[name.Key()] = name
			}
		}
	}
	return out
}

// renewAt returns when to ask for what is about to run out: when 80, 85,
// 90 and 95 percent of a record's time are over (RFC 6762, section 5.2).
// Zero is never.
func (c *cache) renewAt(now time.Time) time.Time {
	var soonest time.Time
	for _, records := range []map[cacheKey]life{c.instances, c.addresses} {
		for _, l := range records {
			whole := l.expires.Sub(l.heard)
			for _, percent := range []time.Duration{80, 85, 90, 95} {
				if at := l.heard.Add(whole * percent / 100); at.After(now) {
					if soonest.IsZero() || at.Before(soonest) {
						soonest = at
					}
					break
				}
			}
		}
	}
	return soonest
}
