package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"latchkey/discover"
	"latchkey/internal/cloudconfig"
	"latchkey/unlock/source/kairos"
)

// service is what key servers of Kairos' protocol announce.
const service = "_kcrypt._tcp"

// connectFor bounds one attempt to find and reach the server; a browser of
// multicast DNS asks three times in it.
const connectFor = 10 * time.Second

// serverOf makes the way to the server that is configured.
func serverOf(ctx context.Context, c cloudconfig.Config) (kairos.Server, error) {
	u, err := kairos.ParseURL(c.Server)
	if err != nil {
		return kairos.Server{}, fmt.Errorf("challenger_server %q: %w", c.Server, err)
	}
	dial := new(net.Dialer).DialContext
	switch {
	case c.MDNS && !u.Local():
		return kairos.Server{}, fmt.Errorf("challenger_server %q: with mdns: true its host must end in .local", c.Server)
	case c.MDNS:
		dial, err = browse(ctx, u, discover.Query{Services: []string{service}, Host: u.Name})
	case u.Local(): // the resolver of a static program does not know them
		dial, err = browse(ctx, u, discover.Query{URLs: []string{"http://" + u.Address()}})
	}
	if err != nil {
		return kairos.Server{}, err
	}
	var config *tls.Config
	if u.TLS {
		if config, err = tlsConfig(u, c.Certificate); err != nil {
			return kairos.Server{}, err
		}
	}
	return kairos.Server{URL: u, Connect: way{u, dial, config}.connect}, nil
}

// A way leads to a server.
type way struct {
	url    kairos.URL
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	config *tls.Config // nil: without TLS
}

func (w way) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	conn, err := w.dial(ctx, "tcp", w.url.Address())
	if err != nil || w.config == nil {
		return conn, err
	}
	secured := tls.Client(conn, w.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// tlsConfig verifies a certificate against the name in the URL. The one that
// is configured is the only one trusted, and those of the system without.
func tlsConfig(u kairos.URL, certificate string) (*tls.Config, error) {
	config := &tls.Config{ServerName: u.Name, MinVersion: tls.VersionTLS12}
	if certificate == "" {
		return config, nil
	}
	if !strings.Contains(certificate, "-----BEGIN") {
		text, err := os.ReadFile(certificate)
		if err != nil {
			return nil, fmt.Errorf("certificate: neither PEM nor a file: %w", err)
		}
		certificate = string(text)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM([]byte(certificate)) {
		return nil, errors.New("certificate: there is no certificate in it that can be read, want PEM")
	}
	return config, nil
}

// browse looks for the server on all links, and goes on looking while it is
// asked again.
func browse(ctx context.Context, u kairos.URL, q discover.Query) (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	q.What = "server of Kairos' protocol"
	f, err := discover.NewFinder(q, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	go f.Run(ctx)
	go discover.WatchInterfaces(ctx, nil, func(links []discover.Interface) { f.Update(append(links, discover.HostServers())) })
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		failed := fmt.Errorf("nobody on these links answers for %s", u.Name)
		for {
			c, err := f.Next(ctx)
			if err != nil {
				return nil, failed
			}
			f.SetAside(c, pause) // and then it is offered again
			conn, err := new(net.Dialer).DialContext(ctx, network, c.Addr.String())
			if err == nil {
				return conn, nil
			}
			if ctx.Err() == nil { // else it was cut short, which tells nothing
				failed = err
			}
		}
	}, nil
}
