package daemon

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

// accepted is the other end of a connection that this process makes.
func accepted(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// faults/kms.md L: who uses the operator's socket is in the audit log by the
// user that the kernel names.
func TestPeer(t *testing.T) {
	l, err := openOperator(filepath.Join(t.TempDir(), "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := accepted(t, l)

	if got, want := ledger.Who(withPeer(t.Context(), conn)), operator.Who(os.Getuid()); got != want {
		t.Errorf("the peer is %q, want %q", got, want)
	}

	other, _ := net.Pipe()
	defer other.Close()
	if got := ledger.Who(withPeer(context.Background(), other)); !strings.HasPrefix(got, "operator (unknown user") {
		t.Errorf("a peer without credentials is %q", got)
	}
}

// The socket is for its owner only, from the moment that it is there; what
// was left behind by a server that is gone is replaced.
func TestListenOperator(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin.sock")
	if err := os.WriteFile(file, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openOperator(file); err == nil {
		t.Error("a file that is no socket was taken for one")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file that is no socket is gone: %v", err)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	for range 2 {
		l, err := openOperator(path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket has mode %v, %v, want 0600", info.Mode(), err)
		}
		l.Close()
	}
}

// Where the socket's mode says nothing, root and the server's user are
// answered, and nobody else.
func TestOwnersOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	dir := t.TempDir()
	for up := dir; up != os.TempDir(); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := openOperator(filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(l.Addr().String(), 0o666); err != nil {
		t.Fatal(err)
	}

	somebody := make(chan error, 1)
	go func() { // the thread ends with this goroutine, and nobody else becomes that user
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 4711, 4711, 4711); errno != 0 {
			somebody <- errno
			return
		}
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: l.Addr().String()})
		}
		somebody <- err
	}()
	if err := <-somebody; err != nil {
		t.Fatal(err)
	}
	conn := accepted(t, ownersOf(l, true, slog.New(slog.DiscardHandler)))
	if uid, err := peerUID(conn); err != nil || uid != 0 {
		t.Errorf("the first who is answered is user %d, %v; want root", uid, err)
	}
}
