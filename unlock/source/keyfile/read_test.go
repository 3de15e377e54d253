package keyfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRead: offset and size are those of crypttab(5).
func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, MaxBytes+1); err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name string
		d    Device
		f    File
		want string
		err  string // "" is none
	}{
		{"all of it, with the line's end", Device{}, File{Path: file}, "0123456789\n", ""},
		{"from an offset", Device{}, File{Path: file, Offset: 4}, "456789\n", ""},
		{"a part", Device{}, File{Path: file, Offset: 2, Size: 3}, "234", ""},
		{"a device itself", Device{Path: file}, File{Offset: 1, Size: 2}, "12", ""},
		{"more than there is", Device{}, File{Path: file, Size: 12}, "", "has 11 bytes from byte 0 on, and the key has 12"},
		{"beyond its end", Device{}, File{Path: file, Offset: 11}, "", "0 bytes from byte 11"},
		{"larger than cryptsetup takes", Device{}, File{Path: large}, "", "want 1 to 8388608"},
		{"a header", Device{Path: file}, File{Max: 64}, "0123456789\n", ""},
		{"the beginning of a large header", Device{}, File{Path: file, Max: 4}, "0123", ""},
		{"missing", Device{}, File{Path: filepath.Join(dir, "none")}, "", "no such file"},
		{"a file system that is not mounted", Device{Path: "/dev/sda1", FSType: "xfs"}, File{Path: "key"}, "", `file system "xfs"`},
	} {
		got, err := Read(row.d, row.f)
		if string(got.Reveal()) != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: Read = %q, %v, want %q, %q", row.name, got.Reveal(), err, row.want, row.err)
		}
	}
}

// TestOpen: a stranger's stick leads nowhere but into itself.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "keys/pipe"), 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "keys/shop.key"), []byte("key"), 0o600)
	os.Symlink("/proc/self/environ", filepath.Join(dir, "out"))
	os.Symlink("keys/shop.key", filepath.Join(dir, "in"))
	os.Symlink("keys", filepath.Join(dir, "folder"))
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	fs, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fs)

	for path, want := range map[string]bool{
		"keys/shop.key": true, "/keys/shop.key": true, "out": false, "in": false, "folder/shop.key": false, "fifo": false, "keys": false, "none": false,
		"../../../../../../etc/passwd": false,
	} {
		f, err := open(fs, path)
		if (err == nil) != want {
			t.Errorf("open(%q) = %v, want a file: %t", path, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}
