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
// at most 10 s (RFC 6762, section 6.7) and is asked for every 30 s, and no
// longer than maxTTL.
const (
	minTTL = time.Minute
	maxTTL = 75 * time.Minute // RFC 6762, section 10
)

// A cache holds the records of one link. All of them are hints, so the
// flush bit is not honored: it would let the last speaker erase the
// others.
type cache struct {
	instances map[cacheKey]time.Time // PTR, SRV, TXT
	addresses map[cacheKey]time.Time // A, AAAA
}

// Data are comparable, so the record itself is the key.
type cacheKey struct {
	name dns.Name // lower case
	data dns.Data
}

func newCache() *cache {
	return &cache{map[cacheKey]time.Time{}, map[cacheKey]time.Time{}}
}

func (c *cache) of(t dns.Type) (map[cacheKey]time.Time, int) {
	if t == dns.TypeA || t == dns.TypeAAAA {
		return c.addresses, maxAddresses
	}
	return c.instances, 3 * maxInstances
}

func (c *cache) put(r dns.Record) {
	records, limit := c.of(r.Data.Type())
	key := cacheKey{r.Name.Key(), r.Data}
	if _, known := records[key]; !known && len(records) >= limit {
		makeRoom(records)
	}
	records[key] = time.Now().Add(min(max(time.Duration(r.TTL)*time.Second, minTTL), maxTTL))
}

// makeRoom drops what has expired, else any record: map order is chance,
// so a flood cannot keep the true answer out for long.
func makeRoom(records map[cacheKey]time.Time) {
	now, before := time.Now(), len(records)
	for k, expires := range records {
		if now.After(expires) {
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

func (c *cache) remove(r dns.Record) {
	records, _ := c.of(r.Data.Type())
	delete(records, cacheKey{r.Name.Key(), r.Data})
}

// each calls do with the data of a name, and how long it is good for.
func (c *cache) each(name dns.Name, t dns.Type, do func(dns.Data, time.Duration)) {
	records, _ := c.of(t)
	name = name.Key()
	now := time.Now()
	for k, expires := range records {
		if k.name == name && k.data.Type() == t && now.Before(expires) {
			do(k.data, expires.Sub(now))
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
