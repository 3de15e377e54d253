package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

// withPeer is a context for the requests of a connection to the operator's
// socket: what they do is in the audit log with the user who asks, as the
// kernel names it (unix(7), SO_PEERCRED).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := peerUID(c)
	if err != nil {
		return ledger.As(ctx, "operator (unknown user: "+err.Error()+")")
	}
	return ledger.As(ctx, operator.Who(uid))
}

func peerUID(c net.Conn) (uid int, err error) {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return 0, net.UnknownNetworkError(c.LocalAddr().Network())
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var asking error
	if err := raw.Control(func(fd uintptr) {
		cred, asking = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if asking != nil {
		return 0, asking
	}
	return int(cred.Uid), nil
}

// openOperator opens the operator's socket, mode 0600. Nobody answers on one
// that is there: the database's lock is ours by now, or somebody looked.
func openOperator(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("listening for the operator: %s is there and is no socket; move it away", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listening for the operator: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening for the operator: %w", err)
	}
	return l, nil
}

// ownersOf has the kernel say who asks where modes say nothing.
func ownersOf(l net.Listener, anyMode bool, log *slog.Logger) net.Listener {
	if anyMode {
		return ownersOnly{l, log}
	}
	return l
}

// ownersOnly are the connections of root and of the user that we are.
type ownersOnly struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l ownersOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && (uid == 0 || uid == os.Geteuid()) {
			return c, nil
		}
		c.Close()
		l.log.Warn("somebody else connected to the operator's socket, and was not answered", "uid", uid, "err", err)
	}
}
