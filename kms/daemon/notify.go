package daemon

import (
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// notify tells systemd about our state: sd_notify(3). Without systemd it
// does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, state)
}

// monotonic is CLOCK_MONOTONIC, the clock that systemd compares with.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
