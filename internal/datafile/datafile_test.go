package datafile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"latchkey/internal/datafile"
)

// daemon is a user that is not root; it need not exist.
const daemon = 4711

func owned(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else gives files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, daemon, daemon); err != nil {
		t.Fatal(err)
	}
	return dir
}

// faults/kms.md M1: whatever root writes into a data directory belongs to
// who owns the directory.
func TestOwner(t *testing.T) {
	for name, write := range map[string]func(path string) error{
		"Write": func(path string) error { return datafile.Write(path, []byte("x")) },
		"Write over root's": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return datafile.Write(path, []byte("x"))
		},
		"Create": func(path string) error {
			f, err := datafile.Create(path)
			if err != nil {
				return err
			}
			return f.Close()
		},
		"Open": func(path string) error {
			f, err := datafile.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		},
		"Own": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return datafile.Own(path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(owned(t), "file")
			if err := write(path); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			got := info.Sys().(*syscall.Stat_t)
			if got.Uid != daemon || got.Gid != daemon || info.Mode().Perm() != 0o600 {
				t.Errorf("%s made a file of %d:%d, mode %v; want %d:%[5]d, 0600", name, got.Uid, got.Gid, info.Mode(), daemon)
			}
		})
	}
}

// A link that the directory's owner put there leads root nowhere.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "file")
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}

	if f, err := datafile.Open(path); err == nil {
		f.Close()
		t.Error("Open followed a link")
	}
	if err := datafile.Own(path); err == nil {
		t.Error("Own followed a link")
	}
	f, err := datafile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}

	if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "as it was" {
		t.Errorf("what the link led to is %q, %v", got, err)
	}
}

// A write that fails leaves what was there, and nothing beside it.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "file"), 0o700); err != nil { // no file can take its place
		t.Fatal(err)
	}
	if err := datafile.Write(filepath.Join(dir, "file"), []byte("x")); err == nil {
		t.Error("Write took a directory's place")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("Write left %v, %v", left, err)
	}
}
