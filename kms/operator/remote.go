package operator

import (
	"crypto/tls"
	"net/http"
	"net/url"

	"latchkey/internal/certfile"
	"latchkey/internal/cli"
)

// A Remote says how to ask a server on another host.
type Remote struct {
	Server    string // URL: https://host:port
	Token     string // file of a token
	Cert, Key string // PEM files: a client certificate instead of a token
	Nobody    bool   // who asks need not say who he is
	CA        string // PEM file: who the server's certificate is from; "" is the system's word
}

// Client checks what r says; it does not connect yet.
func (r Remote) Client() (*Client, error) {
	u, err := url.Parse(r.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, cli.Usagef("--server %q: want https://host:port", r.Server)
	}
	if (r.Token == "") == (r.Cert == "") && !r.Nobody || (r.Cert == "") != (r.Key == "") {
		return nil, cli.Usagef("--server: say either --token-file, or --cert and --key")
	}

	config, err := certfile.Client(tls.VersionTLS13, r.CA, r.Cert, r.Key)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{Live: true, do: client.Do, close: func() error { return nil }, base: "https://" + u.Host, token: r.Token}, nil
}
