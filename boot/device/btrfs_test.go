package device_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/boot/device"
	"latchkey/internal/testlan"
)

// TestProbeSpread: a btrfs on two devices says so on each.
//
// compatible: Disks | btrfs-progs (Debian 13) | a file system on several devices is recognized as such
func TestProbeSpread(t *testing.T) {
	root, dir := testlan.DebianRoot(t), t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), 128<<20); err != nil {
			t.Fatal(err)
		}
	}
	const script = `mount -t tmpfs tmpfs "$1/tmp" && mkdir "$1/tmp/btrfs" && mount --bind "$2" "$1/tmp/btrfs" && mount -t proc proc "$1/proc" &&
chroot "$1" mkfs.btrfs -q -U ` + uuid + ` -L lab -d raid1 -m raid1 /tmp/btrfs/one /tmp/btrfs/two`
	if out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", root, dir).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.btrfs: %v\n%s", err, out)
	}
	for i, name := range []string{"one", "two"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, _ := device.Probe(f)
		if diff := cmp.Diff(device.Super{Type: "btrfs", UUID: uuid, Label: "lab", Devices: 2, DeviceID: uint64(i + 1)}, got); diff != "" {
			t.Errorf("Probe of %s (-want +got):\n%s", name, diff)
		}
	}
}

// TestJoin: what the kernel would cut short is refused.
func TestJoin(t *testing.T) {
	if err := device.Join("/dev/mapper/" + strings.Repeat("x", 4088)); err == nil || !strings.Contains(err.Error(), "the path is too long") {
		t.Errorf("Join = %v, want an error", err)
	}
}
