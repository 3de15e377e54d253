package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"latchkey/kms/config"
)

// listenUnix opens the socket of a KMS plugin: nobody can connect before owner and mode are
// what they should be.
func listenUnix(p *config.K8sPlugin) (net.Listener, error) {
	if err := removeStale(p.Socket); err != nil {
		return nil, err
	}
	old := syscall.Umask(0o777)
	l, err := net.Listen("unix", p.Socket)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}

	if p.UID >= 0 || p.GID >= 0 {
		err = os.Chown(p.Socket, p.UID, p.GID)
	}
	if err == nil {
		err = os.Chmod(p.Socket, p.Perm)
	}
	if err != nil {
		l.Close()
		return nil, err
	}

	return l, nil
}

// removeStale removes a socket that nobody listens on any more, and nothing
// else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("%s: another server listens there", path)
	}
	return os.Remove(path)
}
