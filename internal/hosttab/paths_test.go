package hosttab_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/hosttab"
)

// TestMultipaths: a volume on partition 2 of a disk with several paths, another
// such disk beside it, and what is none.
func TestMultipaths(t *testing.T) {
	root := t.TempDir()
	var errs []error
	write := func(name, text string) {
		path := filepath.Join(root, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	}
	for device, text := range map[string][2]string{
		"dm-0": {"mpatha", "mpath-36001405a"}, "dm-1": {"mpatha-part2", "part2-mpath-36001405a"}, "dm-2": {"root", "CRYPT-LUKS2-x-root"}, "dm-3": {"mpathb", "mpath-36001405b"},
	} {
		write("sys/class/block/"+device+"/dm/name", text[0]+"\n")
		write("sys/class/block/"+device+"/dm/uuid", text[1]+"\n")
	}
	write("sys/class/block/dm-0/slaves/sda", "")
	write("sys/class/block/dm-0/slaves/sdb", "")
	write("sys/class/block/dm-1/slaves/dm-0", "")
	write("dev/dm-1", "")
	write("dev/sdc", "")
	errs = append(errs, os.MkdirAll(filepath.Join(root, "dev/disk/by-uuid"), 0o755), os.Symlink("../../dm-1", filepath.Join(root, "dev/disk/by-uuid", uuid)), os.Symlink("../../sdc", filepath.Join(root, "dev/disk/by-uuid", other)))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}

	h := hosttab.Host{Root: root}
	all := []hosttab.Multipath{{"mpatha", "36001405a"}, {"mpathb", "36001405b"}}
	if diff := cmp.Diff(all, h.Multipaths()); diff != "" {
		t.Errorf("Multipaths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:1], h.MultipathsOf(uuid)); diff != "" {
		t.Errorf("MultipathsOf the volume (-want +got):\n%s", diff)
	}
	if got := h.MultipathsOf(other); got != nil {
		t.Errorf("MultipathsOf a volume on one path = %v", got)
	}
}
