package config

import (
	"crypto/x509"
	"strconv"
	"time"

	"latchkey/internal/certfile"
	"latchkey/internal/label"
)

// An Admin switches the administration over HTTPS on, if it has an
// address. The Unix socket is there in any case.
type Admin struct {
	Address   string        `yaml:"address" restart:"yes"` // host:port
	TLS       *TLS          `yaml:"tls" restart:"yes"`
	ClientCA  string        `yaml:"client-ca"`  // PEM: who signs client certificates
	ClientCRL string        `yaml:"client-crl"` // PEM or DER: which of them are revoked
	Clients   []AdminClient `yaml:"clients"`
	Page      AdminPage     `yaml:"page"`

	// What check read from the files.
	CAs     []*x509.Certificate `yaml:"-"`
	Revoked map[string]bool     `yaml:"-"` // by certfile.Key
}

// An AdminClient is a client certificate, by its common name.
type AdminClient struct {
	Name   string   `yaml:"name"`
	Scope  Scope    `yaml:"scope" words:"read approve admin"`
	Labels []string `yaml:"labels" least:"1" empty:"it would be for all machines; leave the key out if that is meant"` // of the machines that it may do that with; none: all
}

func (a *Admin) check() error {
	if a.Address == "" {
		if a.TLS != nil || a.ClientCA != "" || len(a.Clients) > 0 || a.Page.OIDC.Issuer != "" || a.Page.URL != "" {
			return faultf("address", "name one: without it there is no administration over HTTPS, and the rest of this section means nothing")
		}
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

	if err := a.read(); err != nil {
		return err
	}
	if err := a.Page.check(); err != nil {
		return under("page", err)
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
		if err := label.Check(c.Labels); err != nil {
			return faultf(at+"labels", "%w", err)
		}
		names[c.Name] = true
	}

	return nil
}

// read reads the files about client certificates.
func (a *Admin) read() (err error) {
	if a.ClientCA == "" {
		if a.ClientCRL != "" {
			return faultf("client-crl", "it is for certificates of a client-ca, and there is none")
		}
		return nil
	}
	if a.CAs, err = certfile.Authorities(a.ClientCA); err != nil {
		return faultf("client-ca", "%w", err)
	}
	if a.ClientCRL == "" {
		return nil
	}
	if a.Revoked, err = certfile.Revoked(a.ClientCRL, a.CAs, time.Now()); err != nil {
		return faultf("client-crl", "%w", err)
	}
	return nil
}
