package clevis

import (
	"fmt"
	"strings"

	"latchkey/internal/endpoint"
)

// parseURL splits the URL of a tang server: where it is asked, always as
// http://host:port or with TLS https://host:port, and what comes before the
// paths of the protocol. Clevis writes into the token what people gave it,
// and hands that to curl.
func parseURL(url string, tls bool) (at, prefix string, err error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "http", url // as curl takes it
	}
	port := ":80"
	switch scheme = strings.ToLower(scheme); { // RFC 3986, section 3.1
	case scheme == "http":
	case scheme == "https" && tls:
		port = ":443"
	case scheme == "https":
		return "", "", fmt.Errorf("%.80q: the plan does not say how to know a server over TLS: clevis: {ca: FILE} or {pin: sha256//…} (docs/sources.md)", url)
	default:
		return "", "", fmt.Errorf("%.80q: want http:// or https://", url)
	}

	rest, prefix, _ = strings.Cut(rest, "/")
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
	}
	if strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' }) || strings.ContainsAny(prefix, "?#") {
		return "", "", fmt.Errorf("%.80q: its path has odd letters", url)
	}
	if !strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":") {
		rest += port
	}
	if _, err := endpoint.ParseURL("http://" + rest); err != nil {
		return "", "", fmt.Errorf("%.80q: %w", url, err)
	}
	return scheme + "://" + rest, prefix, nil
}
