package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"latchkey/kms/front"

	"latchkey/kms/config"
)

// certificates are those in use, by file, so that one is read once however
// many listeners have it.
type certificates map[string]*front.Certificate

// config is nil for no TLS.
func (all certificates) tls(t *config.TLS, log *slog.Logger) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	name := t.Certificate + "\x00" + t.Key
	if all[name] == nil {
		c, err := front.LoadCertificate(t.Certificate, t.Key, log)
		if err != nil {
			return nil, fmt.Errorf("listening with TLS: %w", err)
		}
		all[name] = c
	}
	return all[name].Config(t.Version()), nil
}

// client is the certificate that is shown to the store, if there is one.
func (all certificates) client(p config.Place, log *slog.Logger) {
	if p.Cert == "" {
		return
	}
	c, err := front.LoadClientCertificate(p.Cert, p.Key, log)
	if err != nil { // the store was opened with it a moment ago
		log.Warn("certificate for the store cannot be watched", "err", err)
		return
	}
	all["store\x00"+p.Cert] = c
}

// lookEvery is how often certificates are looked at that nobody asks for: that
// one ends is said once a day.
const lookEvery = time.Hour

// look looks at all certificates, until ctx ends: one that ends soon is said,
// and one that was renewed is read, though nobody connects.
func (all certificates) look(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, c := range all {
			c.Look()
		}
	}
}

// options are an endpoint's, for the server.
func (all certificates) options(e *config.Endpoint, log *slog.Logger) (o front.Options, err error) {
	o = front.Options{Limits: front.Limits(e.Connections), Proxies: config.Prefixes(e.Proxies), ProxyProtocol: e.ProxyProtocol}
	o.TLS, err = all.tls(e.TLS, log)
	return o, err
}
