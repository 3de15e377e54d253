package admin

import (
	"context"
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
	"latchkey/kms/ledger"
)

// Errors of the administration over HTTPS.
var (
	errUnknown = errors.New("who asks is not known: no valid token, no certificate of a listed client")
	// ErrScope is who is known and may not do what he asks.
	ErrScope = errors.New("who asks may not do this")
)

// RemoteOptions say who may administer over HTTPS, beside who has a token.
type RemoteOptions struct {
	// Clients are the names in client certificates (subject's common name)
	// and what each may do.
	Clients map[string]Scope
	// CAs sign the client certificates; nil: there are none.
	CAs *x509.CertPool
}

// Remote is the HTTPS server of the administration: the handlers of
// the Unix socket, for who shows a token or a certificate. Every use
// is recorded before it is answered.
func (a *API) Remote(o RemoteOptions, config *tls.Config, log *slog.Logger) *http.Server {
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	if o.CAs != nil {
		config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, o.CAs
	}
	web := &http.Server{
		Handler: a.remoteHandler(o.Clients), TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	web.RegisterOnShutdown(a.ledger.EndWatches)
	return web
}

// Requests that another site made a browser send are refused: a client
// certificate goes with every one of them.
func (a *API) remoteHandler(clients map[string]Scope) http.Handler {
	return http.NewCrossOriginProtection().Handler(a.remoteRoutes(clients))
}

func (a *API) remoteRoutes(clients map[string]Scope) http.Handler {
	mux := http.NewServeMux()
	for _, one := range a.routes {
		handler := handler(one)
		mux.HandleFunc(one.Method+" "+one.Path, func(w http.ResponseWriter, r *http.Request) {
			who, scope, err := a.authorize(r, clients, one.Scope)
			if err != nil {
				a.log.Warn("administration refused", "path", one.Path, "from", front.Remote(r), "who", who, "why", err)
				writeResult(w, nil, err)
				return
			}
			ctx := as(r.Context(), who, scope)
			if err := a.record(ctx, who, one); err != nil {
				writeResult(w, nil, &ledger.Unavailable{Err: err})
				return
			}
			if one.Stream != nil {
				var stop func()
				ctx, stop = a.whileAllowed(ctx, func() error { _, _, err := a.authorize(r, clients, one.Scope); return err })
				defer stop()
			}
			handler(w, r.WithContext(ctx))
		})
	}
	return mux
}

// allowedEvery is how often it is looked whether who watches still may: a
// token expires.
const allowedEvery = 10 * time.Second

// whileAllowed is a context that ends when who asked may no longer: at once
// when a token is revoked.
func (a *API) whileAllowed(ctx context.Context, allowed func() error) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	events, stop := a.ledger.ListenAll()
	go func() {
		tick := time.NewTicker(allowedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-events.Events:
				if e.Event != "token revoke" {
					continue
				}
			case <-tick.C:
			}
			if allowed() != nil {
				cancel()
				return
			}
		}
	}()
	return ctx, func() { cancel(); stop() }
}

// record keeps who used the administration before it is answered: in the
// audit log what changes something or gives the database away, in the
// server's log what only looks. A look that is written to the database would
// let who may only look fill it.
func (a *API) record(ctx context.Context, who string, r Route) error {
	if r.Scope == ScopeRead && r.Method == http.MethodGet {
		a.log.Info("administration", "who", who, "path", r.Path)
		return nil
	}
	return a.ledger.Update(ctx, func(t *ledger.Txn) error {
		return t.Note(ledger.Event{Event: "admin", From: who, Detail: r.Method + " " + r.Path})
	})
}

// authorize tells who asks, for the log, and whether he may.
func (a *API) authorize(r *http.Request, clients map[string]Scope, want Scope) (who string, scope Scope, err error) {
	if header := r.Header.Get("Authorization"); header != "" {
		text, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			return "", "", errUnknown
		}
		t, err := a.holder(secret.Own([]byte(text)))
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
		return who, scope, fmt.Errorf("%w: it needs scope %s", ErrScope, want)
	}

	return who, scope, nil
}
