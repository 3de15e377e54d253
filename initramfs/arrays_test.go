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

var raids = []string{"md-mod", "raid0", "raid1", "raid10", "raid456"}

// onArray is a machine whose volume of config lies on md0, of this level.
func onArray(t *testing.T, level string) hosttab.Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"sys/block/md0/md/level": level + "\n", "sys/class/block/md0/x": "", "dev/md0": "", "dev/disk/by-uuid/x": "", "sys/devices/x": "", "proc/self/mounts": ""} {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../md0", filepath.Join(root, "dev/disk/by-uuid/11111111-2222-3333-4444-555555555555")); err != nil {
		t.Fatal(err)
	}
	return hosttab.Host{Root: root}
}

// TestArrayModules: an image for any machine runs every array; one for this
// machine runs those of this machine; and what the image lacks is said.
func TestArrayModules(t *testing.T) {
	const add = "and the module raid456 is not in the image: write modules: {add: [raid456]} in latchkey.yaml"
	for _, tt := range []struct {
		level, modules string
		want           []string
		warning        string
	}{
		{"raid6", "", raids, ""},
		{"raid6", "modules: {set: host}\n", []string{"md-mod", "raid456"}, ""},
		{"raid1", "modules: {set: host}\n", []string{"md-mod", "raid1"}, ""},
		{"raid10", "modules: {set: host}\n", []string{"md-mod", "raid10"}, ""},
		{"raid5", "modules: {set: none}\n", nil, "volume root lies on the array /dev/md0 (raid5), " + add},
		{"raid5", "modules: {exclude: [raid456]}\n", raids[:4], "volume root lies on the array /dev/md0 (raid5), " + add},
		{"raid5", "modules: {set: none, add: [raid456]}\n", []string{"md-mod", "raid456"}, ""},
		{"linear", "modules: {set: host}\n", nil, "volume root lies on the array /dev/md0 of the level linear, which needs mdadm: this image cannot open it"},
	} {
		tr := newTree(t)
		for _, name := range raids {
			needs := "kernel/drivers/md/md-mod.ko"
			if name == "md-mod" {
				needs = ""
			}
			tr.add("kernel/drivers/md/"+name+".ko", elf("", false), needs)
		}
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+tt.modules))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := initramfs.Build(&out, initramfs.Options{Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3, Host: onArray(t, tt.level)})
		if err != nil {
			t.Fatal(err)
		}
		index := tr.indexOf(out.Bytes())
		for _, name := range raids {
			if got, want := index.Find(name) >= 0, slices.Contains(tt.want, name); got != want {
				t.Errorf("%s, %q: %s in the image: %t, want %t", tt.level, tt.modules, name, got, want)
			}
		}
		if got := strings.Join(r.Warnings, "\n"); got != tt.warning {
			t.Errorf("%s, %q: warnings %q, want %q", tt.level, tt.modules, got, tt.warning)
		}
		if always := r.Plan.Modules.Always; slices.Contains(always, "md_mod") || slices.Contains(always, "raid1") {
			t.Errorf("%s, %q: %v are always loaded", tt.level, tt.modules, always)
		}
	}
}

// TestMirrorModules: an image for any machine maps mirrors of LVM and runs
// caches; one for this machine does if its root is one, or if it has one.
func TestMirrorModules(t *testing.T) {
	mirror, cached := t.TempDir(), onArray(t, "raid5").Root
	if err := os.MkdirAll(filepath.Join(cached, "sys/block/bcache0"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"proc/self/mountinfo": "22 1 253:2 / / rw shared:1 - ext4 /dev/dm-2 rw\n", "dev/dm-2": "",
		"sys/class/block/dm-2/dm/name": "vg-root\n", "sys/class/block/dm-2/dm/uuid": "LVM-x\n", "sys/class/block/dm-2/slaves/dm-1": "",
		"sys/class/block/dm-1/dm/name": "vg-root_rimage_0\n", "sys/class/block/dm-1/dm/uuid": "LVM-y\n", "sys/devices/x": "", "proc/self/mounts": "",
	} {
		path := filepath.Join(mirror, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		modules, host string
		want          []string
	}{{"", t.TempDir(), []string{"dm-raid", "bcache"}}, {"modules: {set: host}\n", mirror, []string{"dm-raid"}}, {"modules: {set: host}\n", cached, []string{"bcache"}}, {"modules: {set: host}\n", onArray(t, "raid5").Root, nil}} {
		tr := newTree(t)
		tr.add("kernel/drivers/md/raid1.ko", elf("", false), "")
		tr.add("kernel/drivers/md/dm-raid.ko", elf("", false), "kernel/drivers/md/raid1.ko")
		tr.add("kernel/drivers/md/bcache/bcache.ko", elf("", false), "")
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+tt.modules))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := initramfs.Build(&out, initramfs.Options{Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3, Host: hosttab.Host{Root: tt.host}})
		if err != nil {
			t.Fatal(err)
		}
		index := tr.indexOf(out.Bytes())
		for _, name := range []string{"dm-raid", "bcache"} {
			if got, want := index.Find(name) >= 0, slices.Contains(tt.want, name); got != want || slices.Contains(r.Plan.Modules.Always, strings.ReplaceAll(name, "-", "_")) {
				t.Errorf("%q: %s in the image: %t, want %t; %v are always loaded", tt.modules, name, got, want, r.Plan.Modules.Always)
			}
		}
	}
}
