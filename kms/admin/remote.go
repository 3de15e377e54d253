package admin

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"time"
)

// RemoteOptions say who may administer over HTTPS, beside who has a token.
type RemoteOptions struct {
	// Clients are the names in client certificates (subject's common name)
	// and what each may do.
	Clients map[string]Grant
	// CAs sign the client certificates; nil: there are none.
	CAs *x509.CertPool
	// Page answers what is not below /v1/; nil: nothing is there.
	Page http.Handler
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
		Handler: a.remoteHandler(o), TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	web.RegisterOnShutdown(a.ledger.EndWatches)
	return web
}

// Requests that another site made a browser send are refused: a client
// certificate, and a session's cookie, go with every one of them.
func (a *API) remoteHandler(o RemoteOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", a.HandlerFor(a.ByHeaders(o.Clients)))
	if o.Page != nil {
		mux.Handle("/", o.Page)
	}
	return http.NewCrossOriginProtection().Handler(mux)
}
