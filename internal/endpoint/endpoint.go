// Package endpoint reads where a KMS is asked: its URL, its port and the
// DNS-SD service type that it is announced under. The plan, the search and
// the client share this one grammar, so what an image accepts is what its
// boot can use.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is where a KMS listens, and the port of a URL without one.
const DefaultPort = 7741

// Limits of what a boot looks for.
const (
	MaxURL     = 512 // bytes of one URL
	MaxTargets = 16  // URLs and service types together
)

// An Endpoint is where a KMS is asked.
type Endpoint struct {
	Host string // a name or an address, with its zone
	Port uint16
}

// Address is the endpoint as net.Dial wants it.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

func (e Endpoint) String() string { return "http://" + e.Address() }

// ParseURL reads the URL of a KMS, strictly: http, a host, perhaps a port.
// lk1 needs no TLS, and no path, user, query or fragment has a meaning.
func ParseURL(s string) (Endpoint, error) {
	rest, ok := strings.CutPrefix(s, "http://")
	switch {
	case strings.HasPrefix(s, "https://"):
		return Endpoint{}, errors.New("it must begin with http:// (lk1 needs no TLS: the pinned key is what is trusted)")
	case !ok:
		return Endpoint{}, errors.New("it must begin with http://")
	case len(s) > MaxURL:
		return Endpoint{}, fmt.Errorf("it has %d bytes, the limit is %d", len(s), MaxURL)
	}

	rest = strings.TrimSuffix(rest, "/")
	for _, c := range []byte(rest) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/?#@\"<>^{}|`+"`", c) >= 0 {
			return Endpoint{}, fmt.Errorf("%q is not allowed: want http://host[:port] and nothing else", c)
		}
	}

	if strings.Count(rest, ":") > 1 && !strings.Contains(rest, "[") {
		return Endpoint{}, fmt.Errorf("an IPv6 address stands in brackets: http://[%s] or http://[…]:port", rest)
	}
	host, port, err := splitPort(rest)
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{host, port}, checkHost(host, strings.HasPrefix(rest, "["))
}

func splitPort(s string) (host string, port uint16, err error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < strings.LastIndexByte(s, ']') {
		colon = -1
	}
	host, port = s, DefaultPort
	if colon >= 0 {
		n, err := strconv.ParseUint(s[colon+1:], 10, 16)
		if err != nil || n == 0 || s[colon+1] == '0' || s[colon+1] == '+' {
			return "", 0, fmt.Errorf("%q is not a port (1 to 65535)", s[colon+1:])
		}
		host, port = s[:colon], uint16(n)
	}

	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") {
		return "", 0, errors.New("brackets do not match")
	}
	if strings.HasPrefix(host, "[") {
		host = strings.Replace(host[1:len(host)-1], "%25", "%", 1) // RFC 6874, section 2
	}

	return host, port, nil
}

func checkHost(host string, bracketed bool) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is6() != bracketed {
			return errors.New("an IPv6 address, and nothing else, stands in brackets")
		}
		if !isHost(addr.Unmap()) {
			return fmt.Errorf("%s is not the address of a host", addr)
		}
		return nil
	}
	if bracketed {
		return errors.New("an IPv6 address, and nothing else, stands in brackets")
	}
	return checkName(strings.TrimSuffix(host, "."))
}

// isHost leaves out what names no single host: 0.0.0.0/8 and 240.0.0.0/4
// (RFC 1122, section 3.2.1.3; RFC 1112, section 4), multicast, "any".
func isHost(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !(a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240))
}

// checkName takes host names of RFC 1123, section 2.1, with the underscore
// that people use. One that ends in digits only would be an address for
// some resolvers ("127.1").
func checkName(name string) error {
	if len(name) == 0 || len(name) > 253 {
		return errors.New("it names no host")
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if len(l) == 0 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, letters+digits+"-_") != "" {
			return fmt.Errorf("%q is not a host name", name)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, digits) == "" || strings.HasPrefix(last, "0x") {
		return fmt.Errorf("%q is neither a host name nor an address", name)
	}
	return nil
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// CheckService takes DNS-SD service types such as _latchkey._tcp: RFC 6763,
// section 7, with the name rules of RFC 6335, section 5.1, in lower case.
func CheckService(s string) error {
	kind, ok := strings.CutSuffix(s, "._tcp")
	name := strings.TrimPrefix(kind, "_")
	good := ok && name != kind && len(name) >= 1 && len(name) <= 15 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz"+digits+"-") == "" &&
		name[0] != '-' && name[len(name)-1] != '-' && strings.Trim(name, digits+"-") != ""
	if !good {
		return fmt.Errorf("%q is not a service type such as _latchkey._tcp (lower case, at most 15 letters, digits and dashes; RFC 6763, section 7)", s)
	}
	return nil
}
