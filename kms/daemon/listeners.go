package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/kms/front"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/server/metrics"
)

// listeners are all listeners for machines.
type listeners struct {
	all       []listener
	serving   int // how many of them are answered
	announced int // and printed
	ready     atomic.Bool
	remote    *remote // nil if there is none
	pairs     certificates
	measured  []*metrics.Set // beside what the server counts
	failed    chan error     // why one ended
	sockets   sockets        // of a server that was sealed
}

// A listener is one of them.
type listener struct {
	addr   net.Addr
	what   string            // before the address, when it is printed
	speaks []config.Protocol // what is advertised of it
	answering
}

// answering is a server on its listener.
type answering interface {
	Serve() error
	Shutdown(context.Context) error
	Close() error
}

// newListeners answers monitoring at once, if it may ask at all: a server that
// waits for room on its disk is alive, and not ready.
func newListeners(c *config.Config, s *server.Server, open sockets, log *slog.Logger, out io.Writer, more ...*metrics.Set) (*listeners, error) {
	f := &listeners{measured: more, pairs: certificates{}, failed: make(chan error, len(c.Listen)+len(c.K8s)+8), sockets: open}
	if c.Metrics.Address == "" {
		return f, nil
	}
	if err := f.listenMetrics(&c.Metrics, s, log); err != nil {
		return nil, fmt.Errorf("listening for metrics: %w", err)
	}
	f.serve()
	f.announce(out)
	return f, nil
}

// listenFor opens all listeners for machines and operators. After an error
// they are to be closed.
func (f *listeners) listenFor(ctx context.Context, c *config.Config, s *server.Server, log *slog.Logger) error {
	for i := range c.Listen {
		if err := f.listen(&c.Listen[i], s, log); err != nil {
			return fmt.Errorf("listening for machines: %w", err)
		}
	}
	if c.Talos.Address != "" {
		if err := f.listenTalos(&c.Talos, s, log); err != nil {
			return fmt.Errorf("listening for Talos: %w", err)
		}
	}
	if c.Admin.Address != "" {
		if err := f.listenRemote(&c.Admin, s, log); err != nil {
			return fmt.Errorf("listening for administration: %w", err)
		}
	}
	if c.Sites.Address != "" {
		if err := f.listenSites(&c.Sites, s, log); err != nil {
			return fmt.Errorf("listening for sites: %w", err)
		}
	}
	for i := range c.K8s {
		err := whenRoom(ctx, log, func() error { return f.listenK8s(ctx, &c.K8s[i], s) })
		if err != nil {
			return fmt.Errorf("listening for Kubernetes: %w", err)
		}
	}
	return nil
}

func (f *listeners) listen(one *config.Listener, s *server.Server, log *slog.Logger) error {
	o, err := f.pairs.options(&one.Endpoint, log)
	if err != nil {
		return err
	}
	l, err := f.sockets.tcp(one.Address)
	if err != nil {
		return err
	}
	f.all = append(f.all, listener{addr: l.Addr(), speaks: one.Protocols, answering: server.NewFront(s, l, protocolsOf(one.Protocols), o, log)})
	return nil
}

func (f *listeners) listenTalos(one *config.Talos, s *server.Server, log *slog.Logger) error {
	o, err := f.pairs.options(&one.Endpoint, log)
	if err != nil {
		return err
	}
	var creds credentials.TransportCredentials
	if o.TLS != nil {
		creds = credentials.NewTLS(o.TLS)
	}
	l, err := f.sockets.tcp(one.Address)
	if err != nil {
		return err
	}
	f.all = append(f.all, listener{addr: l.Addr(), what: "for Talos ", answering: grpcFront{server.NewTalos(s, creds), front.Door(l, o)}})
	return nil
}

func (f *listeners) listenK8s(ctx context.Context, one *config.K8sPlugin, s *server.Server) error {
	g, err := server.NewK8s(ctx, s, one.Key, one.V1)
	if err != nil {
		return err
	}
	l, err := f.sockets.take(one.Socket, func() (net.Listener, error) { return listenUnix(one) })
	if err != nil {
		return err
	}
	f.all = append(f.all, listener{addr: l.Addr(), what: "for Kubernetes ", answering: grpcFront{g, l}})
	return nil
}

func (f *listeners) close() {
	for _, one := range f.all {
		one.Close()
	}
}

// serve begins to answer where it has not yet.
func (f *listeners) serve() {
	for _, one := range f.all[f.serving:] {
		go func() { f.failed <- one.Serve() }()
	}
	f.serving = len(f.all)
}

// operators is what stands for the operator's socket, which is not told:
// commands find it in the data directory.
const operators = "for the operator "

// announce prints the addresses, once each; who asked for port 0 learns it
// here.
func (f *listeners) announce(out io.Writer) {
	for _, one := range f.all[f.announced:] {
		if one.what != operators {
			fmt.Fprintf(out, "listening %son %s\n", one.what, one.addr)
		}
	}
	f.announced = len(f.all)
}

// shutdownWait is how long exchanges under way may take to end.
const shutdownWait = 5 * time.Second

// shutdown lets exchanges end, and cuts off those that do not: machines ask
// again.
func (f *listeners) shutdown(log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	errs := make([]error, len(f.all))
	var all sync.WaitGroup

	for i, one := range f.all {
		all.Go(func() {
			if errs[i] = one.Shutdown(ctx); errors.Is(errs[i], context.DeadlineExceeded) {
				log.Warn("cut off exchanges that did not end in time", "listener", one.addr)
				one.Close()
				errs[i] = nil
			}
		})
	}

	all.Wait()
	return errors.Join(errs...)
}

// grpcFront is a gRPC server on a listener.
type grpcFront struct {
	*grpc.Server
	l net.Listener
}

// Serve implements answering.
func (g grpcFront) Serve() error { return g.Server.Serve(g.l) }

// Shutdown implements answering: calls under way end, until ctx does.
func (g grpcFront) Shutdown(ctx context.Context) error {
	defer context.AfterFunc(ctx, g.Server.Stop)()
	g.Server.GracefulStop()
	return ctx.Err()
}

// Close implements answering.
func (g grpcFront) Close() error {
	g.Server.Stop()
	return g.l.Close()
}
