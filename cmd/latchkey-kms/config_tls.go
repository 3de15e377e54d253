package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"strconv"

	"latchkey/kms/server"
)

// A tlsConfig is a certificate and what is spoken with it. The files are
// read again when they change.
type tlsConfig struct {
	Certificate string `yaml:"certificate"` // PEM, with intermediates
	Key         string `yaml:"key"`         // PEM
	MinVersion  string `yaml:"min-version"` // 1.3 (default) or 1.2
}

var tlsVersions = map[string]uint16{"": tls.VersionTLS13, "1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12}

// check reads the pair: a wrong one is found before it is used.
func (t *tlsConfig) check() error {
	if t == nil {
		return nil
	}
	if _, known := tlsVersions[t.MinVersion]; !known {
		return faultf("min-version", "%q must be 1.3 or 1.2", t.MinVersion)
	}
	if t.Certificate == "" || t.Key == "" {
		return faultf("", "certificate and key belong together")
	}
	_, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return faultf("certificate", "reading %s with key %s: %w", t.Certificate, t.Key, err)
	}
	return nil
}

// certificates are those in use, by file, so that one is read once however
// many listeners have it.
type certificates map[string]*server.Certificate

// config is nil for no TLS.
func (all certificates) config(t *tlsConfig, log *slog.Logger) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	name := t.Certificate + "\x00" + t.Key
	if all[name] == nil {
		c, err := server.LoadCertificate(t.Certificate, t.Key, log)
		if err != nil {
			return nil, fmt.Errorf("listening with TLS: %w", err)
		}
		all[name] = c
	}
	return all[name].Config(tlsVersions[t.MinVersion]), nil
}

// setTLS gives all listeners one certificate.
func (c *config) setTLS(t tlsConfig) {
	c.listeners()
	for i := range c.Listen {
		c.set("listen["+strconv.Itoa(i)+"].tls", "--tls-cert, --tls-key")
		c.Listen[i].TLS = &t
	}
	if c.Admin.Address != "" {
		c.set("admin.tls", "--tls-cert, --tls-key")
		c.Admin.TLS = &t
	}
	if c.Talos.Address != "" {
		c.set("talos.tls", "--tls-cert, --tls-key")
		c.Talos.TLS = &t
	}
}
