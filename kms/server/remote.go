package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/front"
)

// Errors of the administration over HTTPS.
var (
	errUnknown = errors.New("who asks is not known: no valid token, no certificate of a listed client")
	errScope   = errors.New("who asks may not do this")
)

// RemoteOptions say who may administer over HTTPS, beside who has a token.
type RemoteOptions struct {
	// Clients are the names in client certificates (subject's common name)
	// and what each may do.
	Clients map[string]Scope
	// CAs sign the client certificates; nil: there are none.
	CAs *x509.CertPool
}

// NewRemoteAdmin is the HTTPS server of the administration: the handlers of
// the Unix socket, for who shows a token or a certificate. Every use is in
// the audit log before it is answered.
func NewRemoteAdmin(s *Server, o RemoteOptions, config *tls.Config, log *slog.Logger) *http.Server {
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	if o.CAs != nil {
		config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, o.CAs
	}
	web := &http.Server{
		Handler: s.remoteHandler(o.Clients), TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	web.RegisterOnShutdown(s.EndWatches)
	return web
}

func (s *Server) remoteHandler(clients map[string]Scope) http.Handler {
	mux := http.NewServeMux()
	for _, one := range s.routes() {
		handler := s.handler(one)
		mux.HandleFunc(one.method+" "+one.path, func(w http.ResponseWriter, r *http.Request) {
			who, scope, err := s.authorize(r, clients, one.scope)
			if err != nil {
				s.log.Warn("administration refused", "path", one.path, "from", front.Remote(r), "who", who, "why", err)
				writeResult(w, nil, err)
				return
			}
			ctx := as(r.Context(), user{who, scope})
			if err := s.update(ctx, func(t *txn) error {
				return t.note(Event{Event: "admin", From: who, Detail: one.method + " " + one.path})
			}); err != nil {
				writeResult(w, nil, &unavailable{err})
				return
			}
			handler(w, r.WithContext(ctx))
		})
	}
	return mux
}

// authorize tells who asks, for the log, and whether he may.
func (s *Server) authorize(r *http.Request, clients map[string]Scope, want Scope) (who string, scope Scope, err error) {
	if header := r.Header.Get("Authorization"); header != "" {
		text, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			return "", "", errUnknown
		}
		t, err := s.holder(secret.Own([]byte(text)))
		if err != nil {
			return "", "", err
		}
		who, scope = "token "+t.Name, t.Scope
	} else if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		name := r.TLS.VerifiedChains[0][0].Subject.CommonName
		who, scope = fmt.Sprintf("client %.64q", name), clients[name]
	}

	who += " at " + front.Remote(r)
	switch {
	case scope == "":
		return who, scope, errUnknown
	case !scope.allows(want):
		return who, scope, fmt.Errorf("%w: it needs scope %s", errScope, want)
	}

	return who, scope, nil
}
