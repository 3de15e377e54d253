package main

import (
	"crypto/x509"
	"os"
	"strconv"

	"latchkey/kms/server"
)

// An adminSection switches the administration over HTTPS on, if it has an
// address. The Unix socket is there in any case.
type adminSection struct {
	Address  string        `yaml:"address" restart:"yes"` // host:port
	TLS      *tlsConfig    `yaml:"tls" restart:"yes"`
	ClientCA string        `yaml:"client-ca" restart:"yes"` // PEM: who signs client certificates
	Clients  []adminClient `yaml:"clients" restart:"yes"`

	cas *x509.CertPool
}

// An adminClient is a client certificate, by its common name.
type adminClient struct {
	Name  string       `yaml:"name"`
	Scope server.Scope `yaml:"scope"`
}

func (a *adminSection) check() error {
	if a.Address == "" {
		return nil
	}
	if err := (&endpoint{Address: a.Address, TLS: a.TLS}).check(); err != nil {
		return err
	}

	if a.TLS == nil {
		return faultf("", "the administration goes over TLS only: give it tls.certificate and tls.key")
	}
	if (a.ClientCA == "") != (len(a.Clients) == 0) {
		return faultf("client-ca", "client-ca and clients belong together")
	}

	if a.ClientCA != "" {
		pem, err := os.ReadFile(a.ClientCA)
		if err != nil {
			return faultf("client-ca", "%w", err)
		}
		if a.cas = x509.NewCertPool(); !a.cas.AppendCertsFromPEM(pem) {
			return faultf("client-ca", "%s holds no PEM certificate", a.ClientCA)
		}
	}

	names := map[string]bool{}
	for i, c := range a.Clients {
		at := "clients[" + strconv.Itoa(i) + "]."
		switch {
		case c.Name == "" || names[c.Name]:
			return faultf(at+"name", "each client has a name of its own: the common name of its certificate")
		case c.Scope != server.ScopeRead && c.Scope != server.ScopeApprove && c.Scope != server.ScopeAdmin:
			return faultf(at+"scope", "%q must be read, approve or admin", c.Scope)
		}
		names[c.Name] = true
	}

	return nil
}
