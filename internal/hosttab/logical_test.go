package hosttab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/hosttab"
)

// running is a system whose "/" is this source. Mappings are "dm-N name
// uuid", with what they stand on behind.
func running(t *testing.T, source string, mappings ...string) hosttab.Host {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/self/mountinfo", "1 1 0:2 / / rw - rootfs rootfs rw\n22 1 253:2 / / rw,relatime shared:1 - ext4 "+source+" rw\n23 22 0:5 / /dev rw - devtmpfs udev rw\n")
	write("dev/sda2", "")
	for _, m := range mappings {
		f := strings.Fields(m)
		write("dev/"+f[0], "")
		write("sys/class/block/"+f[0]+"/dm/name", f[1]+"\n")
		write("sys/class/block/"+f[0]+"/dm/uuid", f[2]+"\n")
		os.MkdirAll(filepath.Join(root, "dev/mapper"), 0o700)
		if err := os.Symlink("../"+f[0], filepath.Join(root, "dev/mapper", f[1])); err != nil {
			t.Fatal(err)
		}
		for _, below := range f[3:] {
			write("sys/class/block/"+f[0]+"/slaves/"+below, "")
		}
	}
	return hosttab.Host{Root: root}
}

func TestLogicalRoot(t *testing.T) {
	lvm, crypt := "LVM-"+strings.Repeat("a", 64), "CRYPT-LUKS2-"+strings.ReplaceAll(uuid, "-", "")+"-sda2_crypt"
	crypt2 := "CRYPT-LUKS1-" + strings.ReplaceAll(other, "-", "") + "-sdb2_crypt"
	for _, tt := range []struct {
		name string
		host hosttab.Host
		want *hosttab.LogicalRoot
	}{
		{
			"Debian's", running(t, "/dev/mapper/debian--vg-root", "dm-1 debian--vg-root "+lvm+" dm-0", "dm-0 sda2_crypt "+crypt+" sda2"),
			&hosttab.LogicalRoot{Group: "debian-vg", Name: "root", Volumes: []string{uuid}},
		},
		{
			"on two volumes", running(t, "/dev/mapper/vg-root", "dm-2 vg-root "+lvm+" dm-0 dm-1", "dm-0 a "+crypt+" sda2", "dm-1 b "+crypt2+" sda2"),
			&hosttab.LogicalRoot{Group: "vg", Name: "root", Volumes: []string{uuid, other}},
		},
		{
			"thin", running(t, "/dev/mapper/vg-root", "dm-4 vg-root "+lvm+" dm-3", "dm-3 vg-pool-tpool "+lvm+"-tpool dm-1 dm-2", "dm-2 vg-pool_tdata "+lvm+"-tdata dm-0", "dm-1 vg-pool_tmeta "+lvm+"-tmeta dm-0", "dm-0 a "+crypt+" sda2"),
			&hosttab.LogicalRoot{Group: "vg", Name: "root", Volumes: []string{uuid}, Stacked: true},
		},
		{
			"a mirror", running(t, "/dev/mapper/vg-root", "dm-4 vg-root "+lvm+" dm-2 dm-3", "dm-3 vg-root_rimage_0 "+lvm+" dm-0", "dm-2 vg-root_rmeta_0 "+lvm+" dm-0", "dm-0 a "+crypt+" sda2"),
			&hosttab.LogicalRoot{Group: "vg", Name: "root", Volumes: []string{uuid}, RAID: true},
		},
		{
			"the snapshot of a mirror's part", running(t, "/dev/mapper/vg-root", "dm-4 vg-root "+lvm+" dm-2 dm-3", "dm-3 vg-root_rimage_0-cow "+lvm+" dm-0", "dm-2 vg-root_rmeta_0 "+lvm+" dm-0", "dm-0 a "+crypt+" sda2"),
			&hosttab.LogicalRoot{Group: "vg", Name: "root", Volumes: []string{uuid}, Stacked: true},
		},
		{
			"a mirror on a cache", running(t, "/dev/mapper/vg-root", "dm-4 vg-root "+lvm+" dm-3", "dm-3 vg-root_rimage_0 "+lvm+" dm-1", "dm-1 vg-root_rimage_0_corig "+lvm+" dm-0", "dm-0 a "+crypt+" sda2"),
			&hosttab.LogicalRoot{Group: "vg", Name: "root", Volumes: []string{uuid}, Stacked: true},
		},
		{"not encrypted", running(t, "/dev/mapper/vg-root", "dm-0 vg-root "+lvm+" sda2"), &hosttab.LogicalRoot{Group: "vg", Name: "root"}},
		{"LUKS without LVM", running(t, "/dev/mapper/my-root", "dm-0 my-root "+crypt+" sda2"), nil},
		{"a partition", running(t, "/dev/sda2"), nil},
		{"an overlay", running(t, "overlay"), nil},
		{"no /proc", hosttab.Host{Root: t.TempDir()}, nil},
	} {
		got, err := tt.host.LogicalRoot()
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: LogicalRoot (-want +got), %v:\n%s", tt.name, err, diff)
		}
	}
}

// The table that mounts a logical volume names no volume of a plan, and need
// not.
func TestWarningsOfLogicalRoot(t *testing.T) {
	h := running(t, "/dev/mapper/vg-root", "dm-1 vg-root LVM-"+strings.Repeat("a", 64)+" dm-0", "dm-0 a CRYPT-LUKS2-x")
	for name, text := range map[string]string{"etc/fstab": "/dev/mapper/vg-root / ext4 defaults 0 1\n", "etc/crypttab": "a UUID=" + uuid + " none\n"} {
		os.MkdirAll(filepath.Join(h.Root, "etc"), 0o700)
		if err := os.WriteFile(filepath.Join(h.Root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := h.Warnings([]hosttab.Volume{{UUID: uuid, Name: "a"}}, hosttab.Mounts{}); err != nil || len(got) != 0 {
		t.Errorf("Warnings = %q, %v, want none", got, err)
	}
}

// From another system, such as an installer, "/" is not the logical volume
// that the table mounts; the plan's root is.
func TestWarningsOfPlannedLogicalRoot(t *testing.T) {
	h := host(t, "a UUID="+uuid+" none\n", "/dev/mapper/debian--vg-root / ext4 defaults 0 1\n")
	for root, want := range map[string]int{"/dev/mapper/debian--vg-root": 0, "/dev/mapper/debian--vg-other": 1, "": 1} {
		got, err := h.Warnings([]hosttab.Volume{{UUID: uuid, Name: "a"}}, hosttab.Mounts{Root: root})
		if err != nil || len(got) != want {
			t.Errorf("the plan's root is %q: Warnings = %q, %v, want %d", root, got, err, want)
		}
	}
}
