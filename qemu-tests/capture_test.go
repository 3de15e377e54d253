package qemutests

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// A capture is all frames that pass the LAN, one behind the other.
type capture struct {
	fd   int
	stop chan struct{}
	done chan error
}

// capture start FILE | capture stop: everything that is said on the LAN,
// as one who listens on the wire has it.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 2 && args[0] == "start":
		out, err := os.Create(filepath.Join(w.dir, args[1]))
		ts.Check(err)
		w.capture, err = w.lan.capture(out)
		ts.Check(err)
	case len(args) == 1 && args[0] == "stop" && w.capture != nil:
		close(w.capture.stop)
		ts.Check(<-w.capture.done)
		w.capture = nil
	default:
		ts.Fatalf("usage: capture start FILE | capture stop")
	}
}

func (l *lan) capture(out io.WriteCloser) (*capture, error) {
	c := &capture{fd: -1, stop: make(chan struct{}), done: make(chan error, 1)}
	err := l.inside(func() error {
		bridge, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}

		all := unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}

		// So that it can look whether it is to stop; what came in before is
		// read by then. Shutting the socket down is not supported: packet(7).
		wait := unix.NsecToTimeval(int64(100 * time.Millisecond))
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: bridge.Index})
	})
	if err != nil {
		return nil, err
	}

	go func() { c.done <- c.run(out) }()
	return c, nil
}

func (c *capture) run(out io.WriteCloser) error {
	defer out.Close()
	defer unix.Close(c.fd)
	frame := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(c.fd, frame, 0)
		switch {
		case err == unix.EAGAIN:
			select {
			case <-c.stop:
				return nil
			default:
			}
			continue
		case err == unix.EINTR || err == unix.ENETDOWN:
			continue
		case err != nil:
			return err
		}
		if _, err := out.Write(frame[:n]); err != nil {
			return err
		}
	}
}
