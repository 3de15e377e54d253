package server_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// pipes is a network in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	from  string // an address and port; empty: here
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- named{theirs, p.addr()}:
		return ours, nil
	case <-p.done:
	case <-ctx.Done():
	}
	return nil, net.ErrClosed
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return here }

// named is a pipe that has an address.
type named struct {
	net.Conn
	from net.Addr
}

func (n named) RemoteAddr() net.Addr { return n.from }

func (p *pipes) addr() net.Addr {
	if p.from == "" {
		return here
	}
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.from))
}

var here = net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:1"))
