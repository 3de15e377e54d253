package daemon

import (
	"crypto/tls"
	"fmt"
	"log/slog"

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

// options are an endpoint's, for the server.
func (all certificates) options(e *config.Endpoint, log *slog.Logger) (o front.Options, err error) {
	o = front.Options{Limits: front.Limits(e.Connections), Proxies: config.Prefixes(e.Proxies), ProxyProtocol: e.ProxyProtocol}
	o.TLS, err = all.tls(e.TLS, log)
	return o, err
}
