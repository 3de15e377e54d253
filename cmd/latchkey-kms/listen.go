package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"latchkey/kms/server"
)

// A front is all listeners for machines.
type front struct {
	all    []frontListener
	pairs  certificates
	failed chan error // why one ended
}

type frontListener struct {
	addr net.Addr
	*server.Front
}

// listenFor opens all of them, or none.
func listenFor(c *config, s *server.Server, log *slog.Logger) (f *front, err error) {
	f = &front{pairs: certificates{}, failed: make(chan error, len(c.Listen)+1)}
	for _, one := range c.Listen {
		if err := f.listen(&one, s, log); err != nil {
			f.close()
			return nil, fmt.Errorf("listening for machines: %w", err)
		}
	}
	return f, nil
}

func (f *front) listen(one *listenerConfig, s *server.Server, log *slog.Logger) error {
	o, err := one.options(f.pairs, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", one.Address)
	if err != nil {
		return err
	}
	f.all = append(f.all, frontListener{l.Addr(), server.NewFront(s, l, o, log)})
	return nil
}

func (f *front) close() {
	for _, one := range f.all {
		one.Close()
	}
}

func (f *front) serve() {
	for _, one := range f.all {
		go func() { f.failed <- one.Serve() }()
	}
}

// first is the address that is advertised.
func (f *front) first() net.Addr { return f.all[0].addr }

// announce prints the addresses; who asked for port 0 learns it here.
func (f *front) announce(out io.Writer) {
	for _, one := range f.all {
		fmt.Fprintf(out, "listening on %s\n", one.addr)
	}
}

// shutdown lets exchanges end.
func (f *front) shutdown(ctx context.Context) error {
	errs := make([]error, len(f.all))
	var all sync.WaitGroup
	for i, one := range f.all {
		all.Go(func() { errs[i] = one.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
