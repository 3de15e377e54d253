package kms

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
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
	e, err := parseURL(s)
	if err != nil {
		return Endpoint{}, &Error{What: fmt.Sprintf("reading KMS URL %q", s), code: CodeBadURL, Err: err}
	}
	return e, nil
}

func parseURL(s string) (Endpoint, error) {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		return Endpoint{}, errors.New("it must begin with http://")
	}

	rest = strings.TrimSuffix(rest, "/")
	for _, c := range []byte(rest) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/?#@\"<>^{}|`+"`", c) >= 0 {
			return Endpoint{}, fmt.Errorf("%q has no place there; only a host and a port do", c)
		}
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
			return "", 0, fmt.Errorf("%q is no port", s[colon+1:])
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
		if addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("%s is not one host", addr)
		}
		return nil
	}
	if bracketed {
		return errors.New("an IPv6 address, and nothing else, stands in brackets")
	}
	return checkName(strings.TrimSuffix(host, "."))
}

// checkName takes host names of RFC 1123, section 2.1. One that ends in
// digits only would be an address for some resolvers ("127.1").
func checkName(name string) error {
	if len(name) == 0 || len(name) > 253 {
		return errors.New("it names no host")
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if len(l) == 0 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return fmt.Errorf("%q is no host name", name)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return fmt.Errorf("%q is neither a host name nor an address", name)
	}
	return nil
}
