package clevis

import (
	"fmt"
	"strings"

	"latchkey/internal/endpoint"
)

// parseURL splits the URL of a tang server: where it is asked, always as
// http://host:port, and what comes before the paths of the protocol. Clevis
// writes into the token what people gave it, and hands that to curl.
func parseURL(url string) (at, prefix string, err error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "http", url // as curl takes it
	}
	switch strings.ToLower(scheme) { // RFC 3986, section 3.1
	case "http":
	case "https":
		return "", "", fmt.Errorf("%.80q: there is no TLS here, and what tang says needs none: let it answer plain HTTP too, then clevis luks edit -d DEVICE -s SLOT -c '{\"url\":\"http://…\"}'", url)
	default:
		return "", "", fmt.Errorf("%.80q: want http://", url)
	}

	rest, prefix, _ = strings.Cut(rest, "/")
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
	}
	if strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' }) || strings.ContainsAny(prefix, "?#") {
		return "", "", fmt.Errorf("%.80q: its path has odd letters", url)
	}
	if !strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":") {
		rest += ":80"
	}
	if _, err := endpoint.ParseURL("http://" + rest); err != nil {
		return "", "", fmt.Errorf("%.80q: %w", url, err)
	}
	return "http://" + rest, prefix, nil
}
