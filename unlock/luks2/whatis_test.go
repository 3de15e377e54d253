package luks2_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/testlan"
	"latchkey/unlock/luks2"
)

const (
	fullSize  = 300 << 20
	inDebian  = `mount -t tmpfs tmpfs "$1/tmp"; mount --bind "$2" "$1/tmp"; mount -t proc proc "$1/proc"; exec chroot "$1" sh -ec "$3"`
	mdMagic   = "\xfc\x4e\x2b\xa9"
	zfsUber   = "\x0c\xb1\xba\x00\x00\x00\x00\x00"
	bcacheSet = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"
)

// onDebian makes a file of fullSize bytes with a program of the newer Debian.
func onDebian(t *testing.T, command string) string {
	t.Helper()
	root := testlan.DebianRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fullSize); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("unshare", "--mount", "sh", "-ec", inDebian, "sh", root, dir, command)
	if strings.HasPrefix(command, "lvm ") {
		c = exec.Command("../../images/lvm", root, command, path)
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return path
}

// formatFile formats a file as "volume format" does.
func formatFile(t *testing.T, path string, size int64) error {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _, err = luks2.Format(f, luks2.NewVolume{SizeBytes: size}, random(randomKey))
	return err
}

// What installers and administrators put on a device is refused and named,
// made by their own programs; also what is left in the middle of a file
// system when both ends were overwritten with zeros.
func TestFormatRefusesWhatIsThere(t *testing.T) {
	for _, row := range []struct {
		command, want string
		middle        bool // it has something there
	}{
		{"mkfs.ext4 -q -F -b 4096 /tmp/disk", "ext2, ext3 or ext4", true},
		{"mkfs.ext4 -q -F -b 1024 /tmp/disk", "ext2, ext3 or ext4", true},
		{"mkfs.xfs -q /tmp/disk", "xfs", true},
		{"mkfs.btrfs -q /tmp/disk", "btrfs", true},
		{"mkfs.vfat /tmp/disk", "vfat", false},
		{"mkfs.f2fs -q /tmp/disk", "f2fs", false},
		{"mkswap /tmp/disk", "swap space", false},
		{"echo 'label: gpt' | sfdisk -q /tmp/disk", "a partition table (GPT)", false},
		{"echo 'label: dos' | sfdisk -q /tmp/disk", "(MBR)", false},
		{"lvm pvcreate -q $1", "a physical volume of LVM", false},
	} {
		t.Run(row.command, func(t *testing.T) {
			path := onDebian(t, row.command)
			if err := formatFile(t, path, fullSize); code(err) != "not-empty" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("Format = %v, want not-empty: … %s", err, row.want)
			}
			if !row.middle {
				return
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, at := range []int64{0, fullSize - 1<<20} {
				if _, err := f.WriteAt(make([]byte, 17<<20)[:min(17<<20, fullSize-at)], at); err != nil {
					t.Fatal(err)
				}
			}
			if err := formatFile(t, path, fullSize); code(err) != "not-empty" {
				t.Errorf("Format of its middle = %v, want not-empty", err)
			}
		})
	}
}

// Signs of what no program here makes. Nothing that is not zero is taken for
// empty, known or not.
func TestFormatNamesWhatIsThere(t *testing.T) {
	const size = 40 << 20
	for _, row := range []struct {
		name string
		at   int64
		text string
		want string
	}{
		{"md 1.2", 4096, mdMagic, "(md 1.2)"},
		{"md 1.1", 0, mdMagic, "(md 1.1)"},
		{"md 1.0", size - 8<<10, mdMagic, "array (md)"},
		{"md 0.90", size - 64<<10, mdMagic, "array (md)"},
		{"the first uberblock of a pool", 128 << 10, zfsUber, "(ZFS)"},
		{"a later one", 200 << 10, zfsUber, "(ZFS)"},
		{"bcache", 4096 + 24, bcacheSet, "bcache"},
		{"BitLocker", 3, "-FVE-FS-", "BitLocker"},
		{"LUKS", 0, "LUKS\xba\xbe", "a LUKS header"},
		{"the second GPT alone", size - 512, "EFI PART", "second copy of a partition table"},
		{"nobody knows it", 5 << 20, "x", "there is data at byte 5242880"},
		{"in the middle", size / 64 * 40, "x", "there is data at byte 26214400"},
	} {
		d := make(disk, size)
		copy(d[row.at:], row.text)
		_, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: size}, random(randomKey))
		if code(err) != "not-empty" || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Format = %v, want not-empty: … %s", row.name, err, row.want)
		}
	}
}
