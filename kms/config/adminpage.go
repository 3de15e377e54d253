package config

import (
	"cmp"
	"crypto/x509"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/certfile"
	"latchkey/internal/label"
	"latchkey/internal/secret"
)

// Sessions of people in a browser, if the configuration says nothing.
const (
	defaultSession = time.Hour
	maxSession     = 24 * time.Hour
)

// An AdminPage is the administration in a browser. It is there wherever the
// administration goes over HTTPS, unless it is off.
type AdminPage struct {
	Off     bool          `yaml:"off"`
	URL     string        `yaml:"url"`     // as people reach it; that of oidc if it is not said
	Session time.Duration `yaml:"session"` // how long a sign-in lasts; an hour if it is not said
	OIDC    OIDC          `yaml:"oidc"`
}

// An OIDC is a provider that people sign in by, if it has an issuer.
type OIDC struct {
	Issuer     string      `yaml:"issuer"`             // URL
	URL        string      `yaml:"url"`                // of the page, as people reach it
	ClientID   string      `yaml:"client-id"`          // that the provider knows the key server by
	SecretFile string      `yaml:"client-secret-file"` // what the key server shows the provider
	CA         string      `yaml:"ca"`                 // PEM: who the provider's certificate is from; the system's word if it is not said
	Claim      string      `yaml:"groups-claim"`       // "groups" if it is not said
	Groups     []OIDCGroup `yaml:"groups"`

	// What check read from the files.
	Secret secret.Bytes        `yaml:"-"`
	CAs    []*x509.Certificate `yaml:"-"`
}

// An OIDCGroup is what the members of one of the provider's groups may do.
type OIDCGroup struct {
	Name   string   `yaml:"name"`
	Scope  Scope    `yaml:"scope" words:"read approve admin"`
	Labels []string `yaml:"labels" least:"1" empty:"it would be for all machines; leave the key out if that is meant"` // of the machines that they may do that with; none: all
}

func (p *AdminPage) check() error {
	if p.Off && (p.Session != 0 || p.URL != "" || p.OIDC.Issuer != "") {
		return faultf("off", "the page is off, and the rest of this section means nothing")
	}
	if p.Session == 0 {
		p.Session = defaultSession
	}
	if p.Session < time.Minute || p.Session > maxSession {
		return faultf("session", "%s: must be between a minute and %s", p.Session, maxSession)
	}
	if err := p.OIDC.check(); err != nil {
		return under("oidc", err)
	}
	if p.URL == "" {
		return nil
	}
	if p.OIDC.URL != "" && p.URL != p.OIDC.URL {
		return faultf("url", "%q is another address than oidc.url, %q: say it once", p.URL, p.OIDC.URL)
	}
	return checkPageURL(p.URL)
}

// Address is where people reach the pages, without a slash at its end; empty
// if nothing says so.
func (p *AdminPage) Address() string {
	return strings.TrimSuffix(cmp.Or(p.URL, p.OIDC.URL), "/")
}

// checkPageURL judges the address of the pages.
func checkPageURL(text string) error {
	if err := checkHTTPS("url", text); err != nil {
		return err
	}
	if u, _ := url.Parse(text); u.Path != "" && u.Path != "/" {
		return faultf("url", "%q: the page is at the top of its host: leave the path out", text)
	}
	return nil
}

func checkHTTPS(key, text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return faultf(key, "%q must be as in https://host.example.org", text)
	}
	return nil
}

func (o *OIDC) check() (err error) {
	if o.Issuer == "" {
		if o.URL != "" || o.ClientID != "" || o.SecretFile != "" || len(o.Groups) > 0 {
			return faultf("issuer", "name the provider's URL: without it nobody signs in by one, and the rest of this section means nothing")
		}
		return nil
	}
	if err := checkHTTPS("issuer", o.Issuer); err != nil {
		return err
	}
	if err := checkPageURL(o.URL); err != nil {
		return err
	}
	if o.ClientID == "" {
		return faultf("client-id", "name the client that the provider knows the key server by")
	}
	if o.Secret, err = readSecret(o.SecretFile); err != nil {
		return faultf("client-secret-file", "%w", err)
	}
	if o.CA != "" {
		if o.CAs, err = certfile.Authorities(o.CA); err != nil {
			return faultf("ca", "%w", err)
		}
	}

	if len(o.Groups) == 0 {
		return faultf("groups", "name at least one group: nobody else may administer")
	}
	names := map[string]bool{}
	for i, g := range o.Groups {
		at := "groups[" + strconv.Itoa(i) + "]."
		if names[g.Name] {
			return faultf(at+"name", "%q is there twice", g.Name)
		}
		names[g.Name] = true
		if g.Name == "" {
			return faultf(at+"name", "name a group of the provider")
		}
		if !g.Scope.Known() {
			return faultf(at+"scope", "%q must be read, approve or admin", g.Scope)
		}
		if err := label.Check(g.Labels); err != nil {
			return faultf(at+"labels", "%w", err)
		}
	}
	return nil
}
