package daemon

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"latchkey/kms/config"
	"latchkey/kms/front"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/rpc"
	"latchkey/kms/wrapping"
)

// A seal is all listeners of a server that has no wrapping key yet: whoever
// asks is told to come back.
type seal struct {
	listeners
	why    *atomic.Pointer[string]
	log    *slog.Logger
	gather *wrapping.Gathering // nil if the key is not kept in shares
	wrong  guesses
}

// listenSealed opens all sockets that the configuration names, and answers.
func (d *Daemon) listenSealed(why *atomic.Pointer[string], gather *wrapping.Gathering) (s *seal, err error) {
	c := d.Config
	s = &seal{listeners: listeners{pairs: certificates{}, failed: make(chan error, len(c.Listen)+len(c.K8s)+8), sockets: sockets{}}, why: why, log: d.log, gather: gather}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if c.Metrics.Address != "" {
		err = s.tcp(c.Metrics.Address, "for metrics ", s.web(c.Metrics.TLS, front.Limits{InAll: 64}, s.monitoring()))
	}
	for i := range c.Listen {
		if err == nil {
			err = s.tcp(c.Listen[i].Address, "", s.machines(&c.Listen[i].Endpoint))
		}
	}
	if c.Talos.Address != "" && err == nil {
		err = s.tcp(c.Talos.Address, "for Talos ", s.talos(&c.Talos.Endpoint))
	}
	if c.Admin.Address != "" && err == nil {
		err = s.tcp(c.Admin.Address, "for administration ", s.web(c.Admin.TLS, front.Limits{InAll: 256}, s.operators(func() string { return "the key server is sealed" })))
	}
	for i := range c.K8s {
		if err == nil {
			err = s.add(c.K8s[i].Socket, "for Kubernetes ", func() (net.Listener, error) { return listenUnix(&c.K8s[i]) }, s.k8s)
		}
	}
	if err == nil {
		open := func() (net.Listener, error) { return openOperator(d.Home.Socket()) }
		err = s.add(d.Home.Socket(), operators, open, func(l net.Listener) (answering, error) {
			return s.http(ownersOf(l, d.Home.AnyMode, d.log), s.operators(s.said)), nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("listening while sealed: %w", err)
	}
	s.serve()
	for _, one := range s.all {
		if one.what != operators {
			fmt.Fprintf(d.Out, "sealed, listening %son %s\n", one.what, one.addr)
		}
	}
	return s, nil
}

func (s *seal) tcp(address, what string, answer func(net.Listener) (answering, error)) error {
	return s.add(address, what, func() (net.Listener, error) { return net.Listen("tcp", address) }, answer)
}

// add opens a socket and answers on a copy of it.
func (s *seal) add(address, what string, open func() (net.Listener, error), answer func(net.Listener) (answering, error)) error {
	l, err := open()
	if err != nil {
		return err
	}
	copied, err := second(l)
	if err != nil {
		l.Close()
		return err
	}
	a, err := answer(copied)
	if err != nil {
		copied.Close()
		l.Close()
		return err
	}
	s.all = append(s.all, listener{addr: l.Addr(), what: what, answering: a})
	s.sockets[address] = append(s.sockets[address], &socket{l, a})
	return nil
}

// close ends all: nobody goes on with it.
func (s *seal) close() { s.sockets.close() }

// comeBack is when whoever asks may do so again: not all at once.
func comeBack(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(3+rand.IntN(5)))
	w.WriteHeader(http.StatusServiceUnavailable)
}

// machines are answered as by a store that is away: 503, in every protocol
// over HTTP.
func (s *seal) machines(e *config.Endpoint) func(net.Listener) (answering, error) {
	return func(l net.Listener) (answering, error) {
		o, err := s.pairs.options(e, s.log)
		if err != nil {
			return nil, err
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			comeBack(w)
		})
		return front.New(l, front.Handlers{All: h, Bare: h}, o, s.log), nil
	}
}

func (s *seal) talos(e *config.Endpoint) func(net.Listener) (answering, error) {
	return func(l net.Listener) (answering, error) {
		o, err := s.pairs.options(e, s.log)
		if err != nil {
			return nil, err
		}
		var creds credentials.TransportCredentials
		if o.TLS != nil {
			creds = credentials.NewTLS(o.TLS)
		}
		return grpcFront{rpc.Away(creds, "the key server is sealed; try again later"), front.Door(l, o)}, nil
	}
}

func (s *seal) k8s(l net.Listener) (answering, error) {
	return grpcFront{rpc.Away(nil, "the key server is sealed; try again later"), l}, nil
}

// web answers over HTTP, or HTTPS if there is a certificate.
func (s *seal) web(t *config.TLS, limits front.Limits, h http.Handler) func(net.Listener) (answering, error) {
	return func(l net.Listener) (answering, error) {
		pair, err := s.pairs.tls(t, s.log)
		if err != nil {
			return nil, err
		}
		door := front.Door(l, front.Options{Limits: limits})
		if pair != nil {
			door = tls.NewListener(door, pair)
		}
		return s.http(door, h), nil
	}
}

func (s *seal) http(l net.Listener, h http.Handler) answering {
	return httpFront{&http.Server{
		Handler: h, ConnContext: withPeer, ReadHeaderTimeout: front.HeadWait, ReadTimeout: front.HeadWait, WriteTimeout: 20 * time.Second, IdleTimeout: 30 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}, l}
}

// said is why we are sealed.
func (s *seal) said() string {
	return "sealed: " + *s.why.Load()
}

// monitoring is told that we live, and are not ready.
func (s *seal) monitoring() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, s.said(), http.StatusServiceUnavailable) })
	mux.Handle("GET /metrics", metrics.Handler(s.expiries(1)))
	return mux
}
