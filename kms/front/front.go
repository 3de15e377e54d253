// Package front is the key server's side of the network: listeners, with or
// without TLS and behind proxies or not, the limits of who may hold how many
// connections, and certificates that change while they are used. It knows no
// protocol.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Options say how nodes are answered on one listener. The zero value is
// plain HTTP with the usual limits.
type Options struct {
	// TLS, if it is there, is wanted for all but what the Handlers name Bare,
	// which is answered with and without it.
	TLS    *tls.Config
	Limits Limits
	// Proxies are addresses whose word on where a node is counts: in a
	// PROXY header before each connection if ProxyProtocol, else in
	// X-Forwarded-For.
	Proxies       []netip.Prefix
	ProxyProtocol bool
}

// A Front answers nodes on one listener.
type Front struct {
	doors  *doors
	plain  *http.Server
	secure *http.Server // nil without TLS
	busy   sync.WaitGroup
}

// Handlers are what answers: All, and, on a connection without TLS where
// there is TLS, Bare.
type Handlers struct{ All, Bare http.Handler }

// New makes a front; it owns l from now on.
func New(l net.Listener, h Handlers, o Options, log *slog.Logger) *Front {
	f := &Front{doors: newDoors(l, o)}
	f.plain = newHTTP(f.wrap(h.All, o), log)
	if o.TLS != nil {
		f.plain = newHTTP(f.wrap(h.Bare, o), log)
		f.secure = newHTTP(f.wrap(h.All, o), log)
	}
	return f
}

// wrap counts what is under way, and finds out for whom a proxy asks.
func (f *Front) wrap(h http.Handler, o Options) http.Handler {
	if len(o.Proxies) > 0 && !o.ProxyProtocol {
		h = newForwarded(h, o.Proxies, o.Limits.orDefault().PerAddress)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.busy.Add(1)
		defer f.busy.Done()
		h.ServeHTTP(w, r)
	})
}

// Serve answers until Shutdown or Close, and says why it ended.
func (f *Front) Serve() error {
	ended := make(chan error, 3)
	serve := func(run func() error) { go func() { ended <- run() }() }
	serve(f.doors.run)
	serve(func() error { return f.plain.Serve(f.doors.plain) })
	if f.secure != nil {
		serve(func() error { return f.secure.Serve(f.doors.secure) })
	}
	return <-ended
}

// Shutdown takes no more connections and lets exchanges end, those of
// websockets too, until ctx does.
func (f *Front) Shutdown(ctx context.Context) error {
	f.doors.close()
	err := f.plain.Shutdown(ctx)
	if f.secure != nil {
		err = errors.Join(err, f.secure.Shutdown(ctx))
	}
	if err != nil {
		return err
	}

	done := make(chan struct{})
	go func() { f.busy.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends everything at once.
func (f *Front) Close() error {
	f.doors.close()
	err := f.plain.Close()
	if f.secure != nil {
		err = errors.Join(err, f.secure.Close())
	}
	return err
}

// newHTTP is an HTTP server for nodes, with lk1's deadlines: header and
// message within 5 seconds, an exchange within 20.
func newHTTP(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ConnContext:       withConn,
		ReadHeaderTimeout: HeadWait,
		ReadTimeout:       HeadWait,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       30 * time.Second, // a TPM may need as long for its part of an exchange; idle ones make room
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// HeadWait is how long the beginning of anything may take.
const HeadWait = 5 * time.Second
