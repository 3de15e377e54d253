package bench

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A tangd is Debian's, a process for each connection, as its tangd.socket
// starts it. What systemd itself does for each is not counted.
type tangd struct {
	root, dir string // a Debian, and the folder of keys in it
	url       string
	l         net.Listener
	busy      sync.WaitGroup
	used      atomic.Int64 // processor time of the processes, in nanoseconds
}

// startTangd needs root, for its chroot.
func startTangd(root string) (*tangd, error) {
	dir, err := os.MkdirTemp(filepath.Join(root, "tmp"), "latchkey-kms-bench")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tangd{root: root, dir: dir, url: "http://" + l.Addr().String(), l: l}
	t.busy.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.busy.Go(func() { t.serve(conn) })
		}
	})
	return t, nil
}

func (t *tangd) put(thumbprint string, jwk []byte) error {
	return os.WriteFile(filepath.Join(t.dir, thumbprint+".jwk"), jwk, 0o400)
}

func (t *tangd) serve(conn net.Conn) {
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := exec.Command("/usr/libexec/tangd", filepath.Join("/tmp", filepath.Base(t.dir)))
	cmd.Stdin, cmd.Stdout = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: t.root}
	cmd.Run() // it fails where a client just goes
	if s := cmd.ProcessState; s != nil {
		t.used.Add(int64(s.UserTime() + s.SystemTime()))
	}
}

func (t *tangd) cpu() (time.Duration, error) { return time.Duration(t.used.Load()), nil }

func (t *tangd) close() {
	t.l.Close()
	t.busy.Wait()
	os.RemoveAll(t.dir)
}
