// Package discover finds a key server on the LAN, by multicast DNS, DNS or
// a fixed address, and answers for one. All that it finds is a hint: who
// may give a key is decided by the pinned key, never here.
package discover

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"latchkey/discover/dns"
	"latchkey/internal/endpoint"
)

// DefaultPort is the port of a URL or name without one.
const DefaultPort = endpoint.DefaultPort

// maxTargets is how many URLs and service types a Query may have.
const maxTargets = endpoint.MaxTargets

// A Query says what to look for.
type Query struct {
	URLs     []string // http://HOST[:PORT]; HOST is an address, a DNS name or x.local
	Services []string // DNS-SD types, "_latchkey._tcp"
	What     string   // is looked for, in the log; "" is a key server
	// Host is the one host whose services count, "" all: what others announce
	// is not offered.
	Host string
}

// A Candidate is where a KMS may be. It is never trusted.
type Candidate struct {
	Addr     netip.AddrPort // with the zone of a link-local address
	URL      string         // of the Query, if it names the host; else ""
	Host     string         // the name it was found by, without a final dot
	Service  string         // the DNS-SD type, if it was found by browsing
	Instance string
	Text     []string // the TXT strings of the instance
	Link     string   // the link it was seen on, "" if any
	Source   Source
}

// A Source is the way in which a Candidate was found.
type Source string

// The sources.
const (
	FromURL  Source = "url"
	FromMDNS Source = "mdns"
	FromDNS  Source = "dns"
)

func (c Candidate) String() string {
	s := c.Addr.String()
	if c.Host != "" && c.Host != c.Addr.Addr().String() {
		s = c.Host + " at " + s
	}
	if c.Link == "" { // an address in a URL: the routes decide
		return fmt.Sprintf("%s (%s)", s, c.Source)
	}
	return fmt.Sprintf("%s (%s %s)", s, c.Source, c.Link)
}

// A target is one URL, taken apart.
type target struct {
	url  string
	host string     // lower case, without a final dot
	addr netip.Addr // valid if host is an address
	port uint16     // 0: not in the URL
}

func (t target) local() bool { return isLocal(t.host) }

// isLocal tells whether multicast DNS is responsible for a name: RFC 6762,
// section 3.
func isLocal(host string) bool { return dns.Name(host).HasSuffix("local") }

// portOr returns the port of the URL, or another.
func (t target) portOr(other uint16) uint16 {
	if t.port != 0 {
		return t.port
	}
	return other
}

// An EntryError is one URL or service of a Query that cannot be used.
type EntryError struct {
	Field string // "urls" or "services"
	Index int    // of Query.URLs or Query.Services
	Entry string
	Err   error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("%s[%d] %q cannot be used: %v", e.Field, e.Index, e.Entry, e.Err)
}

func (e *EntryError) Unwrap() error { return e.Err }

var errTooMany = fmt.Errorf("there are more than %d URLs and services before it", maxTargets)

// parse takes a Query apart. What cannot be used fails alone.
func (q Query) parse() (targets []target, services []dns.Name, bad []error) {
	add := func(field string, i int, entry string, err error) bool {
		if err == nil && len(targets)+len(services) == maxTargets {
			err = errTooMany
		}
		if err != nil {
			bad = append(bad, &EntryError{field, i, entry, err})
		}
		return err == nil
	}

	for i, u := range q.URLs {
		t, err := parseURL(u)
		if add("urls", i, u, err) {
			targets = append(targets, t)
		}
	}
	for i, s := range q.Services {
		name, err := serviceName(s)
		if !slices.Contains(services, name) && add("services", i, s, err) {
			services = append(services, name)
		}
	}
	return targets, services, bad
}

// serviceName makes the name under which a service type is browsed.
func serviceName(s string) (dns.Name, error) {
	s = strings.TrimSuffix(strings.TrimSuffix(s, "."), ".local")
	return dns.Name(s + ".local"), endpoint.CheckService(s)
}

// parseURL reads http://HOST[:PORT].
func parseURL(u string) (target, error) {
	e, err := endpoint.ParseURL(u)
	if err != nil {
		return target{}, err
	}

	t := target{url: u, host: strings.ToLower(strings.TrimSuffix(e.Host, "."))}
	if port := ":" + strconv.Itoa(int(e.Port)); strings.HasSuffix(strings.TrimSuffix(u, "/"), port) {
		t.port = e.Port
	}
	if a, err := netip.ParseAddr(e.Host); err == nil {
		t.addr = a.Unmap()
		t.host = t.addr.String()
	}
	return t, nil
}

// isHostName is RFC 1123, section 2.1, with the underscore that people use.
func isHostName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != "" && dns.Name(s).Check() == nil
}

// isHost tells whether a can be the address of a host on a LAN.
func isHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() &&
		!(a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240))
}
