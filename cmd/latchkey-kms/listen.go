package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"latchkey/kms/server"
)

// A front is all listeners for machines.
type front struct {
	all    []frontListener
	failed chan error // one that ended before its time
}

type frontListener struct {
	net.Listener
	web *http.Server
}

// listenFor opens all of them, or none.
func listenFor(c *config, s *server.Server, log *slog.Logger) (*front, error) {
	f := &front{failed: make(chan error, len(c.Listen)+1)}
	for _, one := range c.Listen {
		l, err := net.Listen("tcp", one.Address)
		if err != nil {
			f.close()
			return nil, fmt.Errorf("listening for machines: %w", err)
		}
		f.all = append(f.all, frontListener{l, server.NewHTTP(s, log, one.Protocols...)})
	}
	return f, nil
}

func (f *front) close() {
	for _, one := range f.all {
		one.Close()
	}
}

func (f *front) serve() {
	for _, one := range f.all {
		go func() { f.failed <- one.web.Serve(server.Limit(one.Listener)) }()
	}
}

// first is the address that is advertised.
func (f *front) first() net.Addr { return f.all[0].Addr() }

// announce prints the addresses; who asked for port 0 learns it here.
func (f *front) announce(out io.Writer) {
	for _, one := range f.all {
		fmt.Fprintf(out, "listening on %s\n", one.Addr())
	}
}

// shutdown lets exchanges end.
func (f *front) shutdown(ctx context.Context) error {
	errs := make([]error, len(f.all))
	var all sync.WaitGroup
	for i, one := range f.all {
		all.Go(func() { errs[i] = one.web.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
