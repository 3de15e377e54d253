// Package datafile writes the files of a data directory: whole or not at
// all, mode 0600, and owned by who owns the directory. A command that root
// runs beside a service of another user would leave files there that the
// service cannot read.
package datafile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Create makes a new file; one that is there is removed before. Who owns the
// directory may have put a link there that leads elsewhere: it is not
// followed.
func Create(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return open(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
}

// Open opens a file for reading and writing, and makes it if there is none.
func Open(path string) (*os.File, error) {
	return open(path, os.O_CREATE|os.O_RDWR)
}

func open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := own(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Own gives a file that was made otherwise to its directory's owner.
func Own(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return own(f)
}

// own does nothing unless root runs it: nobody else may give files away.
func own(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("finding the owner of %s: the system does not say", filepath.Dir(f.Name()))
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// Write replaces a file so that a power cut leaves the old or the new one,
// and syncs it.
func Write(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()

	if err = own(f); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return Replace(f.Name(), path)
}

// Replace puts a file that is on stable storage in another's place, which may
// only be a file: a device of that name would be gone.
func Replace(from, to string) error {
	if info, err := os.Stat(to); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file, and is not replaced", to)
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
