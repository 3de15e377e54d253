package hosttab_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/hosttab"
)

// TestArrays: a volume on a partition of a mirror of an array, and another
// array beside.
func TestArrays(t *testing.T) {
	root := t.TempDir()
	var errs []error
	write := func(name, text string) {
		path := filepath.Join(root, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	}
	link := func(to, name string) {
		path := filepath.Join(root, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path))
	}
	for device, level := range map[string]string{"md0": "raid1", "md1": "raid5", "md2": "raid10", "md3": ""} {
		write("sys/devices/"+device+"/md/level", level+"\n")
		link("../devices/"+device, "sys/block/"+device)
		link("../../devices/"+device, "sys/class/block/"+device)
	}
	write("sys/devices/md0/md0p1/partition", "1\n")
	link("../../devices/md0/md0p1", "sys/class/block/md0p1")
	write("sys/devices/md0/slaves/md1", "")
	write("sys/devices/md1/slaves/md0", "") // a circle that no kernel has
	write("dev/md0p1", "")
	write("dev/sda", "")
	link("../../md0p1", "dev/disk/by-uuid/"+uuid)
	link("../../sda", "dev/disk/by-uuid/"+other)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}

	h := hosttab.Host{Root: root}
	all := []hosttab.Array{{"md0", "raid1"}, {"md1", "raid5"}, {"md2", "raid10"}}
	if diff := cmp.Diff(all, h.Arrays()); diff != "" {
		t.Errorf("Arrays (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:2], h.ArraysOf(uuid)); diff != "" {
		t.Errorf("ArraysOf the volume on a mirror (-want +got):\n%s", diff)
	}
	for _, u := range []string{other, "99999999-2222-3333-4444-555555555555"} {
		if got := h.ArraysOf(u); got != nil {
			t.Errorf("ArraysOf %s = %v, want none", u, got)
		}
	}
}
