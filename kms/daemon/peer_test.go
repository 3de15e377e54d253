package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

// faults/kms.md L: who uses the operator's socket is in the audit log by the
// user that the kernel names.
func TestPeer(t *testing.T) {
	l, err := listenOperator(filepath.Join(t.TempDir(), "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

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
	if _, err := listenOperator(file); err == nil {
		t.Error("a file that is no socket was taken for one")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file that is no socket is gone: %v", err)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	for range 2 {
		l, err := listenOperator(path)
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
