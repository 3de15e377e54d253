package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"latchkey/internal/disk"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

var _ luks2.Locker = (*disk.File)(nil)

// image makes a LUKS2 volume of 4 MiB, which "old" opens.
func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4 << 20); err != nil {
		t.Fatal(err)
	}
	key := luks2.NewKey{Passphrase: secret.Own([]byte(strings.Repeat("o", 32))), Random: true}
	if _, _, err := luks2.Format(f, luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 2 << 20}, key); err != nil {
		t.Fatal(err)
	}
	return path
}

// loop makes a block device of an image.
func loop(t *testing.T, image string) string {
	t.Helper()
	for _, program := range []string{"losetup", "cryptsetup"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run images/deps", program)
		}
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("loop devices need root: %s", out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	return device
}

func open(t *testing.T, path string) *disk.File {
	t.Helper()
	f, err := disk.Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func lockFile(t *testing.T, device string) (path string, inode uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	path = fmt.Sprintf("/run/cryptsetup/L_%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	if err := unix.Stat(path, &st); err == nil {
		inode = st.Ino
	}
	return path, inode
}

// addKey is cryptsetup's luksAddKey of the key "new", started.
func addKey(t *testing.T, device string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	old, key := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	err := errors.Join(os.WriteFile(old, bytes.Repeat([]byte("o"), 32), 0o600), os.WriteFile(key, []byte("new"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("cryptsetup", "luksAddKey", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", old, device, key)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	return c
}

// While we hold the lock, cryptsetup waits for it; afterwards it goes on,
// and its key opens (faults/node.md H7).
func TestCryptsetupWaits(t *testing.T) {
	device := loop(t, image(t))
	f := open(t, device)
	unlock, err := f.Lock()
	if err != nil {
		t.Fatal(err)
	}

	_, inode := lockFile(t, device)
	c := addKey(t, device)
	waits := fmt.Sprintf(":%d ", inode)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		if hasWaiter(string(locks), waits) {
			break
		}
		if time.Now().After(end) || c.Process.Signal(syscall.Signal(0)) != nil {
			t.Fatalf("cryptsetup does not wait for %s:\n%s", waits, locks)
		}
	}

	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("cryptsetup luksAddKey: %v", err)
	}
	h, err := luks2.Read(f, f.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, slot, err := h.Unlock(t.Context(), f, luks2.Attempt{Passphrase: secret.Own([]byte("new")), Slot: luks2.AnySlot}); err != nil || slot != 1 {
		t.Errorf("Unlock = slot %d, %v, want 1", slot, err)
	}
}

func hasWaiter(locks, inode string) bool {
	for line := range strings.Lines(locks) {
		if strings.Contains(line, "->") && strings.Contains(line, inode) {
			return true
		}
	}
	return false
}

// While another program has cryptsetup's lock we wait, and look at the
// name again when its file was removed.
func TestLockWaits(t *testing.T) {
	device := loop(t, image(t))
	path, _ := lockFile(t, device)
	if err := os.Mkdir("/run/cryptsetup", 0o700); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := unix.Flock(int(theirs.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	got := make(chan error)
	f := open(t, device)
	go func() {
		unlock, err := f.Lock()
		if err == nil {
			err = unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("Lock = %v while another program has the lock", err)
	case <-time.After(200 * time.Millisecond):
	}

	if err := errors.Join(os.Remove(path), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("Lock = %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the lock file is left: %v", err)
	}
}

// A lock on a file that was removed since it was opened is none.
func TestLockLooksAtTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "L_7:0")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := disk.Take(f, path); err != nil {
		t.Errorf("Take = %v", err)
	}
	for _, step := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if err := disk.Take(f, path); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("Take of a file without its name = %v, want %v", err, unix.EWOULDBLOCK)
		}
	}
}

func TestOpen(t *testing.T) {
	path := image(t)
	f := open(t, path)
	if f.SizeBytes != 4<<20 || !f.Same(path) || f.Same(os.DevNull) {
		t.Errorf("Open: %d bytes, same %v", f.SizeBytes, f.Same(path))
	}
	if r, err := disk.Open(path, os.O_RDONLY); err != nil {
		t.Errorf("reading it = %v", err)
	} else {
		r.Close()
	}
	for _, bad := range []string{os.DevNull, t.TempDir(), path + "x"} {
		if _, err := disk.Open(bad, os.O_RDONLY); err == nil {
			t.Errorf("Open(%s) succeeds", bad)
		}
	}
	unlock, err := f.Lock()
	if err != nil || unlock() != nil {
		t.Errorf("Lock of a file = %v", err)
	}
}

// A device that is in use is not formatted.
func TestOpenExclusive(t *testing.T) {
	device := loop(t, image(t))
	held, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.OpenExclusive(device); !errors.Is(err, unix.EBUSY) {
		t.Errorf("OpenExclusive of a device in use = %v, want %v", err, unix.EBUSY)
	}
	held.Close()
	f, err := disk.OpenExclusive(device)
	if err != nil {
		t.Fatalf("OpenExclusive = %v", err)
	}
	f.Close()
}

// After Sync what was written is no longer in the page cache: reading it
// back reads the device (faults/node.md, low).
func TestSyncLeavesNoCache(t *testing.T) {
	f := open(t, loop(t, image(t))) // a file on tmpfs has no cache apart from its data
	if _, err := f.WriteAt(make([]byte, 64<<10), 0); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, f.File); n == 0 {
		t.Fatal("nothing is cached after a write: the test shows nothing")
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := cached(t, f.File); n != 0 {
		t.Errorf("%d pages are cached after Sync", n)
	}
}

// cached counts the pages of the first 64 KiB that are in memory.
func cached(t *testing.T, f *os.File) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, 64<<10, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, len(m)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}
