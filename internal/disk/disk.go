// Package disk opens what holds a LUKS volume, an image file or a block
// device, and keeps other programs from writing to it meanwhile.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A File is an image file or a block device. It is luks2.Storage, and a
// luks2.Locker.
type File struct {
	*os.File
	SizeBytes int64

	device uint64 // number of a block device, 0 for an image file
}

// Open opens path with the flags of os.OpenFile. One that is opened for
// writing is not opened by another one of us, nor probed by udev, until it
// is closed; Open waits so long, but not longer than OpenTime.
func Open(path string, flags int) (*File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0o600) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	d, err := examine(f, flags)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return d, nil
}

// OpenExclusive opens path to be formatted. A block device that is mounted
// or mapped is refused: without O_CREAT, O_EXCL fails on it (open(2)).
func OpenExclusive(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	if st.Mode()&fs.ModeDevice != 0 {
		flags |= os.O_EXCL
	}
	return Open(path, flags)
}

func examine(f *os.File, flags int) (*File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}

	d := &File{File: f}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		d.device = uint64(st.Rdev)
	default:
		return nil, errors.New("it is neither a file nor a block device")
	}

	var err error
	if d.SizeBytes, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	if flags&os.O_RDWR == 0 {
		return d, nil
	}

	return d, alone(f)
}

// OpenTime is how long Open waits for another program: udev probes a device
// whenever somebody has written to it.
const OpenTime = 10 * time.Second

// alone takes flock, which is what cryptsetup takes on a file
// (lib/utils_device_locking.c) and what systemd-udevd respects on a block
// device.
func alone(f *os.File) error {
	for end := time.Now().Add(OpenTime); ; time.Sleep(lockPause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK || time.Now().After(end):
			return fmt.Errorf("another program is changing it: %w", err)
		}
	}
}

// Same tells whether path is this file.
func (d *File) Same(path string) bool {
	a, errA := d.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Sync returns when all that was written survives a power cut. What is read
// after it comes from the device, not from the page cache, so that reading
// back proves something.
func (d *File) Sync() error {
	if err := d.File.Sync(); err != nil {
		return err
	}
	unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED) // advice: a file system may not take it
	return nil
}
