package qemutests

import (
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// inside runs f in the LAN's namespace. What f opens stays there; f must
// start no program and no goroutine that opens more.
//
// The thread must come back and live on: the services die with the thread
// that started them (Pdeathsig), and it may have been this one.
func (l *lan) inside(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + l.ns)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // this thread would go on in the wrong network
		}
	}()

	return f()
}

// listen listens on the LAN's host side.
func (l *lan) listen(address string) (ln net.Listener, err error) {
	err = l.inside(func() (err error) {
		ln, err = net.Listen("tcp4", address)
		return err
	})
	return ln, err
}

// dialUntil connects as soon as somebody listens.
func (l *lan) dialUntil(address string, limit time.Duration) (c net.Conn, err error) {
	for end := time.Now().Add(limit); ; {
		if c, err = l.dial(address); err == nil || time.Now().After(end) {
			return c, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// dial connects from the LAN's host side.
func (l *lan) dial(address string) (c net.Conn, err error) {
	err = l.inside(func() (err error) {
		c, err = net.Dial("tcp4", address)
		return err
	})
	return c, err
}
