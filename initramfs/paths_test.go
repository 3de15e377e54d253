package initramfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/hosttab"
)

// onPaths is a machine whose volume of config lies on a disk with several
// paths that is called so.
func onPaths(t *testing.T, name string) hosttab.Host {
	t.Helper()
	h := onArray(t, "raid1")
	for file, text := range map[string]string{"sys/class/block/md0/dm/name": name + "\n", "sys/class/block/md0/dm/uuid": "mpath-36001405a\n", "sys/class/block/dm-0/dm/name": name + "\n", "sys/class/block/dm-0/dm/uuid": "mpath-36001405a\n"} {
		path := filepath.Join(h.Root, file)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// TestPathModules: an image for any machine maps disks with several paths, one
// for this machine does if it has one, and the plan knows those of its volumes.
func TestPathModules(t *testing.T) {
	all := []string{"dm-multipath", "dm-service-time", "scsi_dh_alua"}
	const lacks = "has several paths, and the module dm_service_time is not in the image: it is used over one path; write modules: {add: [dm_service_time]}"
	for _, tt := range []struct {
		name, modules string
		host          hosttab.Host
		want          []string
		known         int
		warning       string
	}{
		{"any machine", "", hosttab.Host{Root: t.TempDir()}, all, 0, ""},
		{"another machine", "modules: {set: host}\n", onArray(t, "raid5"), nil, 0, ""},
		{"this machine", "modules: {set: host}\n", onPaths(t, "mpatha"), all, 1, ""},
		{"this machine, any modules", "", onPaths(t, "mpatha"), all, 1, ""},
		{"without the selector", "modules: {exclude: [dm_service_time]}\n", onPaths(t, "mpatha"), []string{"dm-multipath", "scsi_dh_alua"}, 1, lacks},
		{"a name that is too long", "modules: {set: host}\n", onPaths(t, strings.Repeat("x", 60)), all, 0, ""},
	} {
		tr := newTree(t)
		tr.add("kernel/drivers/md/dm-multipath.ko", elf("", false), "")
		tr.add("kernel/drivers/md/dm-service-time.ko", elf("", false), "kernel/drivers/md/dm-multipath.ko")
		tr.add("kernel/drivers/scsi/device_handler/scsi_dh_alua.ko", elf("", false), "")
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+tt.modules))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := initramfs.Build(&out, initramfs.Options{Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3, Host: tt.host})
		if err != nil {
			t.Fatal(err)
		}
		index := tr.indexOf(out.Bytes())
		for _, name := range all {
			if got, want := index.Find(name) >= 0, slices.Contains(tt.want, name); got != want {
				t.Errorf("%s: %s in the image: %t, want %t", tt.name, name, got, want)
			}
		}
		if name, ok := r.Plan.PathsOf("36001405a"); len(r.Plan.Multipath) != tt.known || ok != (tt.known > 0) || ok && name != "mpatha" {
			t.Errorf("%s: the plan knows %v", tt.name, r.Plan.Multipath)
		}
		if got := strings.Join(r.Warnings, "\n"); tt.warning == "" && strings.Contains(got, "several paths") || !strings.Contains(got, tt.warning) {
			t.Errorf("%s: warnings %q, want %q", tt.name, got, tt.warning)
		}
	}
}
