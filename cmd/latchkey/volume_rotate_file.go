package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"latchkey/internal/datafile"
	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// renewal is the change of one volume.
func renewal(f *disk.File) *unlock.Renewal {
	return &unlock.Renewal{Disk: f, SizeBytes: f.SizeBytes, Memory: luks2.NewMemory(meminfo.Available())}
}

// renewFile replaces the key in the key file. All volumes have the new key
// before it takes the old one's place.
func (o rotateKey) renewFile(ctx context.Context, w io.Writer, volumes []*disk.File) (err error) {
	if o.keyFile, err = filepath.EvalSymlinks(o.keyFile); err != nil { // the file is replaced, not a link to it
		return err
	}
	lock, err := lockKeyFile(o.keyFile)
	if err != nil {
		return err
	}
	defer lock.Close()
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if !o.keep { // perhaps an earlier run ends now
		ended, err := o.finishEarlier(ctx, w, volumes, key)
		if ended || err != nil {
			return err
		}
	}

	if o.oldKeyFile != "" {
		return o.follow(ctx, w, volumes, key)
	}
	next, err := o.prepare(ctx, w, volumes, key)
	if err != nil {
		return err
	}
	defer next.Wipe()
	staged, err := stage(ctx, volumes, key, luks2.NewKey{Passphrase: next, Slot: luks2.AnySlot, Random: true})
	if err != nil {
		return err
	}
	// Before the file has another key: a volume that was not named has the
	// old one alone.
	if err := writeKey(o.keyFile+".old", key); err != nil {
		return err
	}
	if err := datafile.Replace(o.keyFile+".new", o.keyFile); err != nil {
		return err
	}
	return o.end(ctx, w, volumes, staged, next)
}

// follow gives volumes the key that an earlier run made for another one.
func (o rotateKey) follow(ctx context.Context, w io.Writer, volumes []*disk.File, key secret.Bytes) error {
	old, err := readKeyFile(o.oldKeyFile)
	if err != nil {
		return err
	}
	defer old.Wipe()
	if string(old.Reveal()) == string(key.Reveal()) {
		return fmt.Errorf("%s has the same key as %s: there is none to replace it by", o.oldKeyFile, o.keyFile)
	}
	if _, err := o.checkAll(ctx, volumes, o.oldKeyFile, old); err != nil {
		return err
	}
	staged, err := stage(ctx, volumes, old, luks2.NewKey{Passphrase: key, Slot: luks2.AnySlot, Random: isRandom(key)})
	if err != nil {
		return err
	}
	return o.end(ctx, w, volumes, staged, key)
}

// finishEarlier removes old keyslots where an earlier run has left them. If
// it did so for one volume, this run is for that alone.
func (o rotateKey) finishEarlier(ctx context.Context, w io.Writer, volumes []*disk.File, key secret.Bytes) (ended bool, err error) {
	all := make([][]int, len(volumes))
	for i, f := range volumes {
		if all[i], err = renewal(f).Finish(ctx, key); err != nil {
			return ended, changeAdvice(f.Name(), err)
		}
		ended = ended || len(all[i]) > 0
	}
	if !ended {
		return false, nil
	}
	for i, f := range volumes {
		if len(all[i]) == 0 {
			if _, err := o.checkAll(ctx, volumes[i:i+1], o.keyFile, key); err != nil {
				return true, err
			}
		}
		if err := o.print(w, f, all[i], nil, o.oldFile()); err != nil {
			return true, err
		}
	}
	return true, o.sayOld(w)
}

// prepare is the new key, when nothing stands in the way of it.
func (o rotateKey) prepare(ctx context.Context, w io.Writer, volumes []*disk.File, key secret.Bytes) (secret.Bytes, error) {
	room, err := o.checkAll(ctx, volumes, o.keyFile, key)
	if err == nil {
		err = o.oldIsFree(key)
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	next, err := o.next()
	if err != nil || next.Len() > 0 {
		if err == nil && !o.json {
			fmt.Fprintf(w, "continuing with the key of an earlier run in %s.new\n", o.keyFile)
		}
		return next, err
	}
	if !room {
		return next, errors.New("no room for another keyslot: remove one first (latchkey volume remove-key)")
	}
	next = secret.Random(rotatedBytes)
	return next, writeKey(o.keyFile+".new", next) // on stable storage before it gets a keyslot
}

// checkAll tells whether a key opens all volumes and may be replaced there,
// before anything is made.
func (o rotateKey) checkAll(ctx context.Context, volumes []*disk.File, file string, key secret.Bytes) (room bool, err error) {
	room = true
	for _, f := range volumes {
		free, err := renewal(f).Check(ctx, key)
		if errors.Is(err, luks2.ErrWrongKey) && file == o.keyFile && o.oldFile() != "" {
			err = fmt.Errorf("%w; if the volume has the key in %s.old: --old-key-file %[2]s.old gives it the one in %[2]s", err, o.keyFile)
		}
		if err != nil {
			return false, volumeExit(f.Name(), wrongKey(file, key, err))
		}
		room = room && free > 0
	}
	return room, nil
}

// stage gives all volumes the next key.
func stage(ctx context.Context, volumes []*disk.File, key secret.Bytes, next luks2.NewKey) (staged []kept, err error) {
	for _, f := range volumes {
		slot, replaces, err := renewal(f).Stage(ctx, key, next)
		if err != nil {
			return nil, changeAdvice(f.Name(), err)
		}
		staged = append(staged, kept{slot, []int{replaces}})
	}
	return staged, nil
}

// end removes the old keyslots, or leaves them to the next run.
func (o rotateKey) end(ctx context.Context, w io.Writer, volumes []*disk.File, staged []kept, next secret.Bytes) error {
	for i, f := range volumes {
		made, removed := &staged[i], []int(nil)
		if !o.keep {
			var err error
			if removed, err = renewal(f).Finish(ctx, next); err != nil {
				return changeAdvice(f.Name(), err)
			}
			made.old = nil
		}
		if err := o.print(w, f, removed, made, o.oldFile()); err != nil {
			return err
		}
	}
	return o.sayOld(w)
}

// oldFile is where the old key is, if it is there.
func (o rotateKey) oldFile() string {
	if _, err := os.Stat(o.keyFile + ".old"); err != nil {
		return ""
	}
	return o.keyFile + ".old"
}

func (o rotateKey) sayOld(w io.Writer) error {
	old := o.oldFile()
	if old == "" || o.json {
		return nil
	}
	_, err := fmt.Fprintf(w, "the old key is in %s: other volumes may have it; remove it when none has\n", old)
	return err
}

// rotatedBytes is how long a new key is.
const rotatedBytes = 32

// next is the new key that an earlier run has left, or none.
func (o rotateKey) next() (secret.Bytes, error) {
	path := o.keyFile + ".new"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, nil
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 && keepsModes(path) {
		return secret.Bytes{}, fmt.Errorf("%s is in the way: it is no file of mode 0600 that an earlier run has left", path)
	}
	b, err := datafile.Read(path, maxKeyFile)
	if err == nil && (len(b) != rotatedBytes || isText(b)) {
		err = fmt.Errorf("%s is in the way: it is no key that an earlier run has left", path)
	}
	return secret.Own(b), err
}

// oldIsFree refuses to write over a key that is the last one of its kind,
// perhaps.
func (o rotateKey) oldIsFree(key secret.Bytes) error {
	path := o.keyFile + ".old"
	b, err := datafile.Read(path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	defer clear(b)
	if err == nil && string(b) != string(key.Reveal()) {
		err = fmt.Errorf("%s is in the way: it has another key than %s, of an earlier run perhaps; remove it when no volume has that key, or move it away", path, o.keyFile)
	}
	return err
}

// keepsModes tells whether the file system has modes: sticks have vfat or
// exfat (linux/magic.h), where all files have one.
func keepsModes(path string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return err != nil || st.Type != unix.MSDOS_SUPER_MAGIC && st.Type != unix.EXFAT_SUPER_MAGIC
}

// lockKeyFile keeps a second run from the same key file, and removes what a
// run that was killed has left half written.
func lockKeyFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("another program is changing %s: %w", path, err)
	}
	for _, name := range []string{path + ".new", path + ".old"} {
		os.Remove(halfWritten(name)) // seldom there; if it stays, writeKey says so
	}
	return f, nil
}

// halfWritten is the name of a key file until it is whole.
func halfWritten(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".half")
}

// writeKey writes a key file of mode 0600, whole or not at all, to stable
// storage.
func writeKey(path string, key secret.Bytes) error {
	f, err := datafile.Create(halfWritten(path))
	if err != nil {
		return err
	}
	_, err = f.Write(key.Reveal())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return datafile.Replace(f.Name(), path)
}
