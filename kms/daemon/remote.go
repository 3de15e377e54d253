package daemon

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/certfile"
	"latchkey/kms/admin"
	"latchkey/kms/config"
	"latchkey/kms/page"
	"latchkey/kms/server"
)

// A remote is the administration over HTTPS. Who may administer changes with
// a reload: from then on nobody is answered on the word of before.
type remote struct {
	outer *http.Server
	build func(*config.Admin) *http.Server // handler and TLS for a configuration
	now   atomic.Pointer[http.Server]      // those in force

	mu    sync.Mutex
	said  *config.Admin
	conns map[net.Conn]struct{} // open ones, to be cut off by a change
}

// errRevoked is a client whose certificate is on the revocation list.
var errRevoked = errors.New("the client certificate is revoked")

func newRemote(c *config.Admin, pair *tls.Config, s *server.Server, log *slog.Logger) *remote {
	r := &remote{conns: map[net.Conn]struct{}{}}
	r.build = func(c *config.Admin) *http.Server {
		clients := map[string]admin.Grant{}
		for _, one := range c.Clients {
			clients[one.Name] = admin.Grant{Scope: admin.Scope(one.Scope), Reach: one.Labels}
		}
		o := admin.RemoteOptions{Clients: clients}
		if len(c.CAs) > 0 {
			o.CAs = certfile.Pool(c.CAs)
		}
		o.Page = webPage(c, s, clients, log)
		web := s.Remote(o, pair, log)
		web.TLSConfig.VerifyConnection = refuseRevoked(c.Revoked)
		return web
	}

	r.outer = r.build(c)
	r.outer.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.now.Load().Handler.ServeHTTP(w, q) })
	r.outer.TLSConfig = r.outer.TLSConfig.Clone()
	r.outer.TLSConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.now.Load().TLSConfig, nil }
	r.outer.ConnState = r.track
	r.apply(c)
	return r
}

// webPage is the administration in a browser; nil if it is off.
func webPage(c *config.Admin, s *server.Server, clients map[string]admin.Grant, log *slog.Logger) http.Handler {
	if c.Page.Off {
		return nil
	}
	o := page.Options{API: s.API, Links: s.Service, Clients: clients, Session: c.Page.Session, Ready: s.Ready, Log: log}
	if one := &c.Page.OIDC; one.Issuer != "" {
		o.OIDC = &page.OIDC{Issuer: one.Issuer, Client: one.ClientID, Secret: one.Secret, URL: one.URL, Claim: one.Claim, HTTP: asksProvider(one)}
		for _, g := range one.Groups {
			o.OIDC.Groups = append(o.OIDC.Groups, page.Group{Name: g.Name, Grant: admin.Grant{Scope: admin.Scope(g.Scope), Reach: g.Labels}})
		}
	}
	return page.New(o)
}

// asksProvider is the client for a sign-in provider.
func asksProvider(o *config.OIDC) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if len(o.CAs) > 0 {
		transport.TLSClientConfig = &tls.Config{RootCAs: certfile.Pool(o.CAs), MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// refuseRevoked ends handshakes of revoked clients, resumed ones, too.
func refuseRevoked(revoked map[string]bool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		for _, chain := range state.VerifiedChains {
			if revoked[certfile.Key(chain[0])] {
				return errRevoked
			}
		}
		return nil
	}
}

func (r *remote) track(conn net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state {
	case http.StateNew:
		r.conns[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(r.conns, conn)
	}
}

// apply takes what a configuration says of clients. Connections that are
// open were made on the word of before: they are cut off if it has changed.
func (r *remote) apply(c *config.Admin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said != nil && same(r.said, c) {
		return
	}
	r.said = c
	r.now.Store(r.build(c))
	for conn := range r.conns {
		conn.Close()
	}
}

func same(a, b *config.Admin) bool {
	if !reflect.DeepEqual(a.Page, b.Page) {
		return false
	}
	return reflect.DeepEqual(a.Clients, b.Clients) && reflect.DeepEqual(a.Revoked, b.Revoked) && certfile.Pool(a.CAs).Equal(certfile.Pool(b.CAs))
}
