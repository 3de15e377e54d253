// Package discover finds a key server on the LAN, by multicast DNS, DNS or
// a fixed address, and answers for one. All that it finds is a hint: who
// may give a key is decided by the pinned key, never here.
package discover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"latchkey/discover/dns"
)

// DefaultPort is the port of a URL or name without one.
const DefaultPort = 7741

// Limits of a Query.
const (
	maxTargets = 16
	maxURL     = 512
)

// A Query says what to look for.
type Query struct {
	URLs     []string // http://HOST[:PORT][/PATH]; HOST is an address, a DNS name or x.local
	Services []string // DNS-SD types, "_latchkey._tcp"
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
	if c.Host != "" {
		s = c.Host + " at " + s
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

// parse checks a Query.
func (q Query) parse() ([]target, []dns.Name, error) {
	if len(q.URLs)+len(q.Services) > maxTargets {
		return nil, nil, fmt.Errorf("looking for %d URLs and services, the limit is %d", len(q.URLs)+len(q.Services), maxTargets)
	}
	var targets []target

	for _, u := range q.URLs {
		t, err := parseURL(u)
		if err != nil {
			return nil, nil, fmt.Errorf("reading URL %q: %w", u, err)
		}
		targets = append(targets, t)
	}

	var services []dns.Name
	for _, s := range q.Services {
		name, err := serviceName(s)
		if err != nil {
			return nil, nil, err
		}
		if !slices.Contains(services, name) {
			services = append(services, name)
		}
	}

	return targets, services, nil
}

// serviceName makes the name under which a service type is browsed.
func serviceName(s string) (dns.Name, error) {
	s = strings.TrimSuffix(strings.TrimSuffix(s, "."), ".local")
	kind, proto, _ := strings.Cut(s, ".")
	name := dns.Name(s + ".local")
	if !strings.HasPrefix(kind, "_") || len(kind) < 2 || len(kind) > 16 || proto != "_tcp" && proto != "_udp" || name.Check() != nil {
		return "", fmt.Errorf("%q is not a service type such as _latchkey._tcp (RFC 6763, section 7)", s)
	}
	return name, nil
}

// parseURL reads http://HOST[:PORT][/PATH], the only form that a node
// takes: no user, no query, nothing escaped.
func parseURL(u string) (target, error) {
	rest, isHTTP := strings.CutPrefix(u, "http://")
	if !isHTTP {
		var isTLS bool
		if rest, isTLS = strings.CutPrefix(u, "https://"); !isTLS {
			return target{}, errors.New("it must begin with http:// or https://")
		}
	}

	if len(u) > maxURL || strings.ContainsAny(rest, "@?#%\\ \"<>") {
		return target{}, fmt.Errorf("want http://HOST[:PORT][/PATH] of at most %d characters", maxURL)
	}
	host, _, _ := strings.Cut(rest, "/")
	t := target{url: u}
	host, port := splitPort(host)
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '+' {
			return target{}, fmt.Errorf("%q is not a port", port)
		}
		t.port = uint16(n)
	}

	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); !isHost(a) && !a.IsLoopback() {
			return target{}, fmt.Errorf("%s is not the address of a host", a)
		}
		t.addr, t.host = a, a.String()
		return t, nil
	}

	t.host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !isHostName(t.host) {
		return target{}, fmt.Errorf("%q is neither an address nor a host name", host)
	}
	return t, nil
}

func splitPort(s string) (host, port string) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.HasSuffix(s, "]") {
		return s, ""
	}
	return s[:colon], s[colon+1:]
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
