package config

import (
	"crypto/x509"
	"strconv"

	"latchkey/internal/certfile"
)

// An Admin switches the administration over HTTPS on, if it has an
// address. The Unix socket is there in any case.
type Admin struct {
	Address  string        `yaml:"address" restart:"yes"` // host:port
	TLS      *TLS          `yaml:"tls" restart:"yes"`
	ClientCA string        `yaml:"client-ca" restart:"yes"` // PEM: who signs client certificates
	Clients  []AdminClient `yaml:"clients" restart:"yes"`

	CAs *x509.CertPool `yaml:"-"` // read from ClientCA by check
}

// An AdminClient is a client certificate, by its common name.
type AdminClient struct {
	Name  string `yaml:"name"`
	Scope Scope  `yaml:"scope"`
}

func (a *Admin) check() error {
	if a.Address == "" {
		return nil
	}
	if err := (&Endpoint{Address: a.Address, TLS: a.TLS}).check(); err != nil {
		return err
	}

	if a.TLS == nil {
		return faultf("", "the administration goes over TLS only: give it tls.certificate and tls.key")
	}
	if (a.ClientCA == "") != (len(a.Clients) == 0) {
		return faultf("client-ca", "client-ca and clients belong together")
	}

	if a.ClientCA != "" {
		pool, err := certfile.Pool(a.ClientCA)
		if err != nil {
			return faultf("client-ca", "%w", err)
		}
		a.CAs = pool
	}

	names := map[string]bool{}
	for i, c := range a.Clients {
		at := "clients[" + strconv.Itoa(i) + "]."
		switch {
		case c.Name == "" || names[c.Name]:
			return faultf(at+"name", "each client has a name of its own: the common name of its certificate")
		case !c.Scope.Known():
			return faultf(at+"scope", "%q must be read, approve or admin", c.Scope)
		}
		names[c.Name] = true
	}

	return nil
}
