package config

import (
	"crypto/tls"
	"strconv"
)

// A TLS is a certificate and what is spoken with it. The files are
// read again when they change.
type TLS struct {
	Certificate string `yaml:"certificate"` // PEM, with intermediates
	Key         string `yaml:"key"`         // PEM
	MinVersion  string `yaml:"min-version"` // 1.3 (default) or 1.2
}

var tlsVersions = map[string]uint16{"": tls.VersionTLS13, "1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12}

// check reads the pair: a wrong one is found before it is used.
func (t *TLS) check() error {
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

// Version is the least version that is spoken, as crypto/tls numbers it.
func (t *TLS) Version() uint16 { return tlsVersions[t.MinVersion] }

// setTLS gives all listeners one certificate.
func (c *Config) setTLS(t TLS) error {
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
	if len(c.Listen) == 0 && c.Admin.Address == "" && c.Talos.Address == "" {
		return faultf("tls", "there is no listener that could use the certificate")
	}
	return nil
}
