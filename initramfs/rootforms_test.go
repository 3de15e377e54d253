package initramfs_test

import (
	"slices"
	"strings"
	"testing"
)

// TestRootForms: the image has what mounts /usr and the overlay, if the plan
// has them.
func TestRootForms(t *testing.T) {
	all := []string{"btrfs", "erofs", "ext4", "overlay", "xfs"}
	for _, tt := range []struct{ config, want string }{
		{"", "btrfs erofs ext4 xfs"},
		{"root: {fstype: ext4}", "ext4"},
		{"root: {fstype: ext4, overlay: tmpfs}", "ext4 overlay"},
		{"root: {fstype: erofs, overlay: LABEL=top}", "btrfs erofs ext4 overlay xfs"},
		{"root: {fstype: ext4}\nusr: {device: LABEL=usr, fstype: erofs}", "erofs ext4"},
		{"root: {fstype: ext4}\nusr: {device: LABEL=usr}", "btrfs erofs ext4 xfs"},
		{"root: {fstype: btrfs}\nusr: {flags: subvol=usr}", "btrfs"},
	} {
		tr := newTree(t)
		for _, fs := range all {
			if dir := strings.Replace(fs, "overlay", "overlayfs", 1); fs != "xfs" { // the tree has it
				tr.add("kernel/fs/"+dir+"/"+fs+".ko", elf("", false), "")
			}
		}
		tr.write("modules/6.1/modules.builtin", nil)
		index := tr.index(config + tt.config + "\n")
		has := slices.DeleteFunc(slices.Clone(all), func(fs string) bool { return index.Find(fs) < 0 })
		if got := strings.Join(has, " "); got != tt.want {
			t.Errorf("%q: the image has %s, want %s", tt.config, got, tt.want)
		}
	}

	tr := newTree(t)
	if _, _, err := tr.build(config + "root: {overlay: tmpfs}\n"); err == nil || !strings.Contains(err.Error(), "root.overlay: the kernel in") {
		t.Errorf("an overlay that the kernel has not: %v", err)
	}
}
