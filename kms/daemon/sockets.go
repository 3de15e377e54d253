package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// sockets are open ones that a sealed server answers on, by their address.
// Who goes on with one takes it: no machine is refused a connection between
// the two.
type sockets map[string][]*socket

// A socket has a copy that is answered as sealed, until it is taken.
type socket struct {
	net.Listener
	sealed answering
}

// tcp is a socket that is open, or a new one.
func (s sockets) tcp(address string) (net.Listener, error) {
	return s.take(address, func() (net.Listener, error) { return net.Listen("tcp", address) })
}

// take is a socket of this address that is open, or one that open makes.
func (s sockets) take(address string, open func() (net.Listener, error)) (net.Listener, error) {
	if len(s[address]) == 0 {
		return open()
	}
	one := s[address][0]
	s[address] = s[address][1:]
	return one.Listener, one.end()
}

// end lets exchanges end that say that we are sealed.
func (one *socket) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	if err := one.sealed.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		one.sealed.Close()
	}
	return nil
}

// close closes what nobody took.
func (s sockets) close() {
	for _, all := range s {
		for _, one := range all {
			one.sealed.Close()
			one.Listener.Close()
		}
	}
	clear(s)
}

// second is another descriptor of the same socket, which can be closed alone.
func second(l net.Listener) (net.Listener, error) {
	of, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", l)
	}
	f, err := of.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}
