package endpoint

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Challenger is where a server of Kairos' protocol is asked: the URL in
// challenger_server, taken apart.
type Challenger struct {
	TLS  bool
	Name string // of the host: what a certificate is verified against
	Port uint16 // 80 or 443 if the URL has none
	Path string // before that of an exchange, without slashes at its end

	host string // as it was written, with its port
}

// Host is what the header Host says, wherever the server is.
func (u Challenger) Host() string { return u.host }

// Address is where the server is unless mDNS tells.
func (u Challenger) Address() string { return net.JoinHostPort(u.Name, strconv.Itoa(int(u.Port))) }

// Local tells whether multicast DNS may tell where the server is.
func (u Challenger) Local() bool { return strings.HasSuffix(u.Name, ".local") }

func (u Challenger) String() string {
	scheme := "http://"
	if u.TLS {
		scheme = "https://"
	}
	return scheme + u.host + u.Path
}

// ParseChallenger reads http://host[:port][/path], or https. Kairos puts ws in the
// place of http, so ws and wss are the same.
func ParseChallenger(s string) (Challenger, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || len(s) > MaxURL {
		return Challenger{}, errors.New("it must begin with http:// or https://, and have at most 512 bytes")
	}
	u := Challenger{Port: 80}
	switch strings.ToLower(scheme) { // RFC 3986, section 3.1
	case "http", "ws":
	case "https", "wss":
		u.TLS, u.Port = true, 443
	default:
		return Challenger{}, errors.New("it must begin with http:// or https://")
	}

	host, path, slash := strings.Cut(rest, "/")
	if path = strings.TrimRight(path, "/"); slash && path != "" {
		u.Path = "/" + path
	}
	if strings.ContainsFunc(u.Path, func(r rune) bool { return r <= ' ' || r > '~' }) || strings.ContainsAny(u.Path, "?#") {
		return Challenger{}, errors.New("its path has odd letters")
	}
	u.host = host
	if !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
		host += ":" + strconv.Itoa(int(u.Port))
	}
	e, err := ParseURL("http://" + host)
	if err != nil {
		return Challenger{}, fmt.Errorf("its host: %w", err)
	}
	u.Name, u.Port = strings.ToLower(strings.TrimSuffix(e.Host, ".")), e.Port
	return u, nil
}
