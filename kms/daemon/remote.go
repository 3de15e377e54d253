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

	"latchkey/internal/certfile"
	"latchkey/kms/admin"
	"latchkey/kms/config"
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
		clients := map[string]admin.Scope{}
		for _, one := range c.Clients {
			clients[one.Name] = admin.Scope(one.Scope)
		}
		o := admin.RemoteOptions{Clients: clients}
		if len(c.CAs) > 0 {
			o.CAs = certfile.Pool(c.CAs)
		}
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
	return reflect.DeepEqual(a.Clients, b.Clients) && reflect.DeepEqual(a.Revoked, b.Revoked) && certfile.Pool(a.CAs).Equal(certfile.Pool(b.CAs))
}
