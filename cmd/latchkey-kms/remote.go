package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/pflag"

	"latchkey/internal/cli"
)

// remoteFlags say how to administer a server on another host.
type remoteFlags struct{ server, token, cert, key, ca string }

func (f *remoteFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.server, "server", "", "URL of a server whose administration is on HTTPS, instead of the one on this host: https://kms.example.org:7743")
	flags.StringVar(&f.token, "token-file", "", "file of the token for --server")
	flags.StringVar(&f.cert, "cert", "", "PEM client certificate for --server, instead of a token")
	flags.StringVar(&f.key, "key", "", "PEM key of --cert")
	flags.StringVar(&f.ca, "ca", "", "PEM certificates that --server is believed by (default: the system's)")
}

// admin asks over HTTPS.
func (f *remoteFlags) admin() (*admin, error) {
	u, err := url.Parse(f.server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, cli.Usagef("--server %q: want https://host:port", f.server)
	}

	if (f.token == "") == (f.cert == "") || (f.cert == "") != (f.key == "") {
		return nil, cli.Usagef("--server: say either --token-file, or --cert and --key")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("reading --ca: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading --ca: %s holds no PEM certificate", f.ca)
		}
	}

	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("reading --cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}

	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &admin{do: client.Do, close: func() error { return nil }, base: "https://" + u.Host, token: f.token}, nil
}
