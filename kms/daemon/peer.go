package daemon

import (
	"context"
	"net"

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
