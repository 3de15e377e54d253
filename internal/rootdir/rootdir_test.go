package rootdir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/rootdir"
)

// tree makes folders, files and links ("name -> target") below a root.
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, e := range entries {
		name, target, link := strings.Cut(e, " -> ")
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case link:
			err = errors.Join(err, os.Symlink(target, path))
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(name), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// rows are names below a root, and where they are there.
var rows = []struct{ name, path, entry string }{
	{"/etc/key", "etc/key", ""},
	{"etc//./key", "etc/key", ""},
	{"/etc/none", "etc/none", ""},
	{"/none/../etc/none", "etc/none", "no kernel"}, // the kernel wants "none" to be there
	{"../../etc/key", "etc/key", ""},
	{"/abs", "etc/key", "abs"},
	{"/climbs", "etc/key", "climbs"},
	{"/etc/relative", "etc/key", "etc/relative"},
	{"/boot/image", "real/boot/image", ""},
	{"/boot/next", "etc/key", "real/boot/next"},
	{"/lib/modules", "usr/lib/modules", ""},
	{"/up/etc/key", "etc/key", ""},
	{"/", "", ""},
	{"/dangling", "real/none", "dangling"},
}

func rowsTree(t *testing.T) string {
	return tree(t, "etc/key", "abs -> /etc/key", "climbs -> ../../../../etc/key", "etc/relative -> key", "boot -> /real/boot", "real/boot/image",
		"real/boot/next -> /etc/key", "lib -> usr/lib", "usr/lib/modules", "up -> ..", "dangling -> /real/none", "a -> b", "b -> /a")
}

func TestPath(t *testing.T) {
	root := rowsTree(t)
	for _, row := range rows {
		if got, want := rootdir.Path(root, row.name), filepath.Join(root, row.path); got != want {
			t.Errorf("Path(%q) = %s, want %s", row.name, got, want)
		}
		entry := row.entry
		if entry == "" || entry == "no kernel" {
			entry = row.path
		}
		if got, want := rootdir.Entry(root, row.name), filepath.Join(root, entry); got != want {
			t.Errorf("Entry(%q) = %s, want %s", row.name, got, want)
		}
	}
	loop := rootdir.Path(root, "/a/etc/key")
	if _, err := os.Open(loop); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "too many levels of symbolic links") {
		t.Errorf("opening %q = %v, want an error that names the loop", loop, err)
	}
	if err := os.MkdirAll(loop, 0o755); err == nil {
		t.Error("a folder of that name was made")
	}
	if got, want := rootdir.Follow(root+"/", root+"/real/boot/next"), root+"/etc/key"; got != want {
		t.Errorf("Follow = %s, want %s", got, want)
	}
	if got := rootdir.Follow("/", "/etc/key"); got != "/etc/key" {
		t.Errorf("Follow below / = %s", got)
	}
	for _, root := range []string{"", "/", "//"} {
		if got := rootdir.Path(root, "/etc/../etc/key"); filepath.Join("/", got) != "/etc/key" || !rootdir.Here(root) {
			t.Errorf("Path(%q) = %s: the running system's names are the kernel's", root, got)
		}
	}
}

// TestPathAsTheKernel: openat2(2) finds the same files.
func TestPathAsTheKernel(t *testing.T) {
	root := rowsTree(t)
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, row := range rows {
		if row.entry == "no kernel" {
			continue
		}
		fd, err := unix.Openat2(int(dir.Fd()), row.name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("openat2 needs Linux 5.6")
		}
		ours, statErr := os.Stat(rootdir.Path(root, row.name))
		if err != nil {
			if statErr == nil {
				t.Errorf("%s: the kernel says %v, and we find %s", row.name, err, rootdir.Path(root, row.name))
			}
			continue
		}
		f := os.NewFile(uintptr(fd), row.name)
		theirs, err := f.Stat()
		f.Close()
		if err != nil || statErr != nil || !os.SameFile(ours, theirs) {
			t.Errorf("%s: we find another file than the kernel (%v, %v)", row.name, err, statErr)
		}
	}
}
