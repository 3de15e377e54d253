package daemon

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"latchkey/kms/front"

	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/server/metrics"
)

// listenMetrics serves what monitoring asks for: it releases nothing and
// changes nothing.
func (f *listeners) listenMetrics(one *config.Metrics, s *server.Server, log *slog.Logger) error {
	pair, err := f.pairs.tls(one.TLS, log)
	if err != nil {
		return err
	}

	l, err := f.sockets.tcp(one.Address)
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Metrics(append(slices.Clip(f.measured), f.expiries(0))...))
	mux.Handle("GET /", s.HealthHandler())
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !f.ready.Load() {
			http.Error(w, "starting: no machine is answered yet", http.StatusServiceUnavailable)
			return
		}
		s.HealthHandler().ServeHTTP(w, r)
	})
	web := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	door := front.Door(l, front.Options{Limits: front.Limits{InAll: 64}})
	if pair != nil {
		door = tls.NewListener(door, pair)
	}
	f.all = append(f.all, listener{addr: l.Addr(), what: "for metrics ", answering: httpFront{web, door}})
	return nil
}

// expiries are when the certificates in use end, and whether we are sealed.
func (f *listeners) expiries(sealed float64) *metrics.Set {
	set := &metrics.Set{}
	set.Gauge("latchkey_sealed", "1 while the wrapping key cannot be had, and machines are told to come back.", func(set func(float64, ...string)) { set(sealed) })
	set.Gauge("latchkey_certificate_expiry_timestamp_seconds", "When a certificate in use ends, in seconds since 1970.", func(set func(float64, ...string)) {
		for _, c := range f.pairs {
			set(float64(c.Expiry().Unix()), c.File())
		}
	}, "file")
	return set
}

// httpFront is an HTTP server on a listener.
type httpFront struct {
	*http.Server
	l net.Listener
}

// Serve implements answering.
func (h httpFront) Serve() error { return h.Server.Serve(h.l) }

// Close implements answering.
func (h httpFront) Close() error {
	h.l.Close()
	return h.Server.Close()
}
