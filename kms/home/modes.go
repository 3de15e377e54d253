package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// private refuses a directory in which anybody may put files: a database, a
// key or a socket there could be theirs. Where modes say nothing, it refuses
// to have the key there.
func (h Home) private() error {
	if h.AnyMode {
		return h.apart(h.keeping())
	}
	info, err := os.Stat(h.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what is missing is said where it is looked for
	}
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o002 != 0 {
		return fmt.Errorf("anyone may write to the data directory %s (mode %04o); run: chmod 0700 %[1]s; on a share that gives every file such a mode: --strict-modes=false", h.Data, perm)
	}
	return nil
}

// Check judges where the KMS is, as far as who asks may look, and opens
// nothing.
func (h Home) Check() error {
	if err := h.private(); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// apart makes sure that who reads the data directory and the database does
// not read what opens them.
func (h Home) apart(k keeping) error {
	for _, path := range []string{k.Key, k.Passphrase} {
		if path == "" {
			continue
		}
		for _, dir := range []string{h.Data, filepath.Dir(h.Place.Path)} {
			if within(dir, path) {
				return fmt.Errorf("the wrapping key is in %s (%s), which others may read where strict-modes is false; keep it elsewhere: --wrapping-passphrase FILE, --wrapping-tpm, or --wrapping-key FILE", dir, path)
			}
		}
	}
	return nil
}

// within tells whether a file is below a directory; links are followed as
// far as they lead.
func within(dir, path string) bool {
	rel, err := filepath.Rel(real(dir), filepath.Join(real(filepath.Dir(path)), filepath.Base(path)))
	if err != nil {
		return true
	}
	if rel != ".." && !strings.HasPrefix(rel, "../") {
		return true
	}
	target, err := filepath.EvalSymlinks(path)
	return err == nil && target != path && within(dir, target)
}

// real is a path without links and not relative; where it leads nowhere yet,
// its text.
func real(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// Warnings are what is doubtful about the data directory and no reason to
// stop, one line each, with what to do.
func (h Home) Warnings() []string {
	if h.AnyMode {
		return h.shareWarnings()
	}
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

func (h Home) shareWarnings() []string {
	lines := []string{fmt.Sprintf("strict-modes is false: who else may write to %s can stop this server, and put back a database of before, also while it runs; only the share's accounts keep others out", filepath.Dir(h.Place.Path))}
	if h.Place.Shared() {
		lines[0] = fmt.Sprintf("strict-modes is false: who else may write to %s can stop this server; only the share's accounts keep others out", h.Data)
	}
	if h.Location.Mark == "" || within(h.Data, h.Location.Mark) {
		lines = append(lines, fmt.Sprintf("the high-water mark is in %s, too, so a database put back there with it is not noticed; keep it on another disk: mark, or --mark", h.Data))
	}
	return lines
}
