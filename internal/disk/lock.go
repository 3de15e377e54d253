package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockDir is DEFAULT_LUKS2_LOCK_PATH of cryptsetup's configure.ac, which
// every distribution keeps.
const lockDir = "/run/cryptsetup"

// LockTime is how long Lock waits for another program.
const LockTime = 30 * time.Second

const lockPause = 50 * time.Millisecond

// Lock takes cryptsetup's own lock for the metadata of a block device, which
// cryptsetup, systemd-cryptenroll and all others that use libcryptsetup take
// (lib/utils_device_locking.c). An image file is locked while it is open.
func (d *File) Lock() (unlock func() error, err error) {
	if d.device == 0 {
		return func() error { return nil }, nil
	}
	if err := os.Mkdir(lockDir, 0o700); err != nil && !os.IsExist(err) {
		return nil, fmt.Errorf("locking %s: %w", d.Name(), err)
	}

	path := filepath.Join(lockDir, fmt.Sprintf("L_%d:%d", unix.Major(d.device), unix.Minor(d.device)))
	for end := time.Now().Add(LockTime); ; time.Sleep(lockPause) {
		f, err := tryLock(path)
		switch {
		case err == nil:
			return func() error { return release(f, path) }, nil
		case err != unix.EWOULDBLOCK:
			return nil, fmt.Errorf("locking %s: %w", d.Name(), err)
		case time.Now().After(end):
			return nil, fmt.Errorf("locking %s: another program has held %s for %v: wait until it has ended", d.Name(), path, LockTime)
		}
	}
}

// tryLock returns unix.EWOULDBLOCK when somebody else has the lock, or has
// just removed its file.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := take(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// take locks the file. It may have lost its name since it was opened: then
// the next program locks another file, and the lock is worth nothing.
func take(f *os.File, path string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	d := File{File: f}
	if !d.Same(path) {
		return unix.EWOULDBLOCK
	}
	return nil
}

// release removes the file before it lets go of the lock, as cryptsetup
// does: whoever waits for it then looks at the name again.
func release(f *os.File, path string) error {
	err := os.Remove(path)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
