package keyfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
)

// MaxBytes is the longest key: what cryptsetup takes by default
// (DEFAULT_KEYFILE_SIZE_MAXKB, 8 MiB).
const MaxBytes = 8 << 20

// drivers are the file systems that a device with a key may have, and who
// mounts them. Few: each is code of the kernel that reads what a stranger
// plugs in.
var drivers = map[string]string{"vfat": "vfat", "ext2": "ext4", "ext3": "ext4", "ext4": "ext4"}

// Drivers are the modules that Read needs for a file system.
func Drivers(fstype string) []string {
	if drivers[fstype] == "vfat" { // and Debian's defaults for the names in it: FAT_DEFAULT_CODEPAGE, FAT_DEFAULT_IOCHARSET
		return []string{"vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"}
	}
	return []string{driverOf(Device{FSType: fstype, Opened: true})}
}

// driverOf mounts a device; "" is nobody. What is in an opened volume may have
// XFS besides, as Talos' have.
func driverOf(d Device) string {
	if d.Opened && d.FSType == "xfs" {
		return "xfs"
	}
	return drivers[d.FSType]
}

// Read reads a key from a device.
func Read(d Device, f File) (secret.Bytes, error) {
	if f.Path == "" || d == (Device{}) {
		path := f.Path
		if path == "" {
			path = d.Path
		}
		file, err := os.Open(path)
		if err != nil {
			return secret.Bytes{}, err
		}
		defer file.Close()
		return part(file, f)
	}

	fs, err := mount(d)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer unix.Close(fs)
	file, err := open(fs, f.Path)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("opening it on %s: %w", d.Path, err)
	}
	defer file.Close()
	return part(file, f)
}

// mount makes a mount of a device that is in no tree and goes with its
// descriptor: fsopen(2), fsmount(2). Nothing can be written through it.
func mount(d Device) (fs int, err error) {
	driver := driverOf(d)
	if driver == "" {
		return -1, fmt.Errorf("%s has the file system %q: want vfat, ext2, ext3 or ext4", d.Path, d.FSType)
	}
	c, err := unix.Fsopen(driver, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mounting %s: no driver for %s is loaded: %w", d.Path, driver, err)
	}
	defer unix.Close(c)

	set := []error{unix.FsconfigSetString(c, "source", d.Path), unix.FsconfigSetFlag(c, "ro")}
	if flag := map[string]string{"ext4": "noload", "xfs": "norecovery"}[driver]; flag != "" { // the journal is not replayed: that would write
		set = append(set, unix.FsconfigSetFlag(c, flag))
	}
	if err := errors.Join(append(set, unix.FsconfigCreate(c))...); err != nil {
		return -1, fmt.Errorf("mounting %s as %s: %w", d.Path, driver, err)
	}
	fs, err = unix.Fsmount(c, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mounting %s: %w", d.Path, err)
	}
	return fs, nil
}

// open opens a regular file below a folder. No symbolic link is followed: on
// a stranger's stick one could lead out of it, to /proc say.
func open(folder int, path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := unix.Openat2(folder, path, &how)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// part reads the key in a file, into memory that is never moved.
func part(file *os.File, f File) (secret.Bytes, error) {
	size := f.Size
	if f.Max > 0 {
		end, err := file.Seek(0, io.SeekEnd) // also of a device
		if err != nil {
			return secret.Bytes{}, err
		}
		size = min(end-f.Offset, f.Max)
	}
	if size == 0 {
		info, err := file.Stat()
		if err != nil {
			return secret.Bytes{}, err
		}
		size = info.Size() - f.Offset
	}
	if limit := max(f.Max, MaxBytes); size <= 0 || size > limit {
		return secret.Bytes{}, fmt.Errorf("it has %d bytes from byte %d on, want 1 to %d", max(size, 0), f.Offset, limit)
	}

	key := secret.Make(int(size))
	n, err := file.ReadAt(key.Reveal(), f.Offset)
	if err == io.EOF {
		err = fmt.Errorf("it has %d bytes from byte %d on, and the key has %d", n, f.Offset, size)
	}
	if int64(n) < size {
		key.Wipe()
		return secret.Bytes{}, fmt.Errorf("reading it: %w", err)
	}
	return key, nil
}
