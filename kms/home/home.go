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

// private refuses a directory in which anybody may put files: a database, a
// key or a socket there could be theirs.
func (h Home) private() error {
	info, err := os.Stat(h.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what is missing is said where it is looked for
	}
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o002 != 0 {
		return fmt.Errorf("anyone may write to the data directory %s (mode %04o); run: chmod 0700 %[1]s", h.Data, perm)
	}
	return nil
}

// Warnings are what is doubtful about the data directory and no reason to
// stop, one line each, with what to do.
func (h Home) Warnings() []string {
	info, err := os.Stat(h.Data)
	if err != nil {
		return nil // said by who needs it
	}
	perm, can := info.Mode().Perm(), ""
	switch {
	case perm&0o022 != 0:
		can = "others than its owner may write to the data directory: they can put another database or key there"
	case perm&0o055 != 0:
		can = "others than its owner may look into the data directory, where the database and its key are"
	default:
		return nil
	}
	return []string{fmt.Sprintf("%s (%s, mode %04o); run: chmod 0700 %[2]s", can, h.Data, perm)}
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
