// Package home is a key server's data directory on this host, and the store
// that its state is in: made, opened, joined, restored, moved, and the key
// that wraps its secrets.
package home

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"latchkey/kms/ledger"

	"latchkey/internal/datafile"
	"latchkey/kms/config"
	"latchkey/kms/store/bolt"
)

// A Home is where a KMS lives on this host. It holds nothing open.
type Home struct{ config.Location }

// Mark is the high-water mark. What puts the whole data directory back puts
// a mark in it back, too.
func (h Home) Mark() ledger.Mark {
	return ledger.MarkFile(cmp.Or(h.Location.Mark, filepath.Join(h.Data, "epoch")))
}

// Socket is the path of the operator's socket.
func (h Home) Socket() string { return filepath.Join(h.Data, "admin.sock") }

// Running tells whether a server answers the operator's socket.
func (h Home) Running(ctx context.Context) (bool, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; run this as root or as the owner of %s", err, h.Data)
	}
	return false, fmt.Errorf("asking the running server: %w", err)
}

// stopped makes sure that no server runs on this data directory.
func (h Home) stopped(ctx context.Context, doing string) error {
	up, err := h.Running(ctx)
	if err == nil && up {
		err = fmt.Errorf("%s: the server is running; stop it first", doing)
	}
	return err
}

// begin makes the data directory if there is none.
func (h Home) begin() error {
	if err := os.MkdirAll(h.Data, 0o700); err != nil {
		return err
	}
	return h.private()
}

// lockWait is how long a command waits for another one to end.
const lockWait = time.Second

// lock takes the data directory, as bolt takes its file.
func (h Home) lock() (*os.File, error) {
	f, err := datafile.Open(filepath.Join(h.Data, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the KMS: there is no data directory %s; create it with: latchkey-kms init, or with init --join if the store already holds a KMS", h.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}

	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(start) > lockWait {
			f.Close()
			return nil, fmt.Errorf("locking the data directory %s: %w", h.Data, bolt.ErrInUse)
		}
	}
}
