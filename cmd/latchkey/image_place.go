package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/datafile"
)

// oursSuffix is behind a second name of our initramfs, so that it outlasts
// the tool that writes the distribution's over it.
const oursSuffix = ".latchkey"

// A place is where the boot loader looks for an image. The one that was there
// before is kept, as the last one that is known to boot, and whatever fails
// leaves an image there.
type place struct {
	path   string
	booted time.Time // what is older has been there when this machine started
	tries  int       // how often systemd-boot tries a new one, 0 for no counting
	link   func(file, name string) error
	swap   func(file, other string) error
}

func newPlace(path string) place {
	return place{path: path, booted: time.Now().Add(-uptime()), link: os.Link, swap: exchange}
}

// exchange gives each of two files the other's name.
func exchange(file, other string) error {
	return unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}

// uptime is that of the kernel, 0 if it does not say.
func uptime() time.Duration {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return time.Duration(info.Uptime) * time.Second
}

// old is the name of the image before. systemd-boot lists every *.efi, and
// sorts what has a tilde behind what has none (UAPI.10 Version Format).
func (p place) old() string {
	if name, ok := strings.CutSuffix(p.path, ".efi"); ok {
		return name + "~old.efi"
	}
	return p.path + ".old"
}

// isOurs tells whether a file is a whole image of ours.
func isOurs(path string) bool {
	_, err := readPlan(path)
	return err == nil
}

// put gives the place to an image that is whole on the disk. What was there
// is kept, as the old one or as the distribution's; an image that cannot be
// kept stays where it is, and put fails.
func (p place) put(tmp string) error {
	if p.tries > 0 || p.at() != p.path {
		return p.counting(tmp, isOurs(p.at()))
	}
	name, err := p.keptAs()
	if err != nil {
		return err
	}
	return p.keeping(tmp, name)
}

// keeping puts an image in the place and what was there under another name,
// unless that is empty. None of the ways needs room on the disk.
func (p place) keeping(tmp, name string) error {
	if name == "" {
		return datafile.Replace(tmp, p.path)
	}
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder, and the name under which %s is to be kept: move it away", name, p.path)
	}
	next := filepath.Join(filepath.Dir(p.path), "."+filepath.Base(name))
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.link(p.path, next) == nil {
		if err := os.Rename(next, name); err != nil {
			return err
		}
		return datafile.Replace(tmp, p.path)
	}

	// FAT has no second names. Linux exchanges two files there since 6.0;
	// before that there is a moment with the kept image alone.
	if err := p.swap(tmp, p.path); err == nil {
		return datafile.Replace(tmp, name)
	}
	if err := os.Rename(p.path, name); err != nil {
		return err
	}
	return datafile.Replace(tmp, p.path)
}

// unproven tells whether the image there was made after this machine started,
// or has counters in its name yet: systemd-bless-boot takes them away from one
// that has booted.
func (p place) unproven() bool {
	at := p.at()
	info, err := os.Stat(at)
	return err == nil && (at != p.path || info.ModTime().After(p.booted))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// makeRoom gives one of two images up, so that the next one fits beside the
// other: the one that has not booted, if that is known.
func (p place) makeRoom() (bool, error) {
	if !exists(p.old()) {
		return false, nil
	}
	if !p.unproven() {
		return true, os.Remove(p.old())
	}
	at := p.at()
	if err := os.Rename(p.old(), p.path); err != nil {
		return false, err
	}
	if at != p.path {
		return true, os.Remove(at)
	}
	return true, p.keepOurs()
}

// install is put and, if that was done, keepOurs.
func (p place) install(tmp string) error {
	if err := p.put(tmp); err != nil {
		return err
	}
	return p.keepOurs()
}

// keepOurs gives our initramfs its second name, where the file system has
// such names.
func (p place) keepOurs() error {
	if strings.HasSuffix(p.path, ".efi") {
		return nil
	}
	next := filepath.Join(filepath.Dir(p.path), "."+filepath.Base(p.path)+oursSuffix)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.link(p.path, next) != nil {
		return nil // FAT
	}
	return os.Rename(next, p.path+oursSuffix)
}

// rescue sees that an image of ours is in the place after a new one could not
// be made, and says which.
func (p place) rescue() string {
	if isOurs(p.at()) {
		return "the image of before stays, and boots as before"
	}
	for _, kept := range []string{p.path + oursSuffix, p.old()} {
		if !isOurs(kept) {
			continue
		}
		if err := errors.Join(p.put(kept), p.keepOurs()); err == nil {
			return "the image of before is back in its place, and boots as before"
		}
	}
	return ""
}

// tidy removes what a run that was killed has left, where none will follow.
func (p place) tidy() error {
	p.sweep()
	for _, name := range []string{p.path + otherSuffix, p.path + oursSuffix, p.old()} {
		next := filepath.Join(filepath.Dir(name), "."+filepath.Base(name))
		if _, err := removed(next); err != nil {
			return err
		}
	}
	return nil
}

// removed removes a file that is there: on a file system that cannot be
// written to, removing what is not there would fail, too.
func removed(name string) (bool, error) {
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err := os.Remove(name)
	return err == nil, err
}

// sweep removes what runs that were cut short have left beside the place:
// nobody holds it.
func (p place) sweep() {
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(p.path), "."+filepath.Base(p.path)+"-*"))
	for _, name := range left {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(name)
		}
		f.Close()
	}
}

// hold locks what is being written, so that nobody sweeps it away.
func hold(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_SH) } // some file systems have no locks

// A summed writer knows the sum of what it has written.
type summed struct {
	io.Writer
	sum hash.Hash
}

func newSummed(w io.Writer) *summed {
	s := &summed{sum: sha256.New()}
	s.Writer = io.MultiWriter(w, s.sum)
	return s
}

// readBack compares a file with what was written to it. It comes from the
// disk: a page that is clean is dropped from memory (posix_fadvise(2)).
func readBack(path string, sum []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	have := sha256.New()
	if _, err := io.Copy(have, f); err != nil {
		return fmt.Errorf("reading the new image back: %w", err)
	}
	if !bytes.Equal(have.Sum(nil), sum) {
		return fmt.Errorf("reading the new image back: %s has not what was written to it", filepath.Dir(path))
	}
	return nil
}

// roomAdvice adds to an error of a full file system how full it is.
func roomAdvice(err error, path string) error {
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	dir := filepath.Dir(path)
	free, unknown := freeBytes(dir)
	if unknown != nil {
		return err
	}
	return fmt.Errorf("%s is full, %d MB are left: %w (remove kernels that are not needed; modules.set: host makes small images)", dir, free>>20, err)
}

// freeBytes is what a file system has left for those who are not root.
func freeBytes(dir string) (int64, error) {
	var at unix.Statfs_t
	err := unix.Statfs(dir, &at)
	return int64(at.Bavail) * int64(at.Bsize), err // Bsize has 32 bits on some machines
}
