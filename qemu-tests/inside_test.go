package qemutests

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inside runs f in the LAN's namespace. What f opens stays there; f must
// start no program and no goroutine that opens more.
func (l *lan) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		ns, err := os.Open("/run/netns/" + l.ns)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// listen listens on the LAN's host side.
func (l *lan) listen(address string) (ln net.Listener, err error) {
	err = l.inside(func() (err error) {
		ln, err = net.Listen("tcp4", address)
		return err
	})
	return ln, err
}

// dial connects from the LAN's host side.
func (l *lan) dial(address string) (c net.Conn, err error) {
	err = l.inside(func() (err error) {
		c, err = net.Dial("tcp4", address)
		return err
	})
	return c, err
}
