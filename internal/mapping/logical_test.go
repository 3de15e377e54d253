package mapping_test

import (
	"strings"
	"testing"

	"latchkey/internal/mapping"
)

func TestIsLogical(t *testing.T) {
	id := strings.Repeat("aZ09!#xy", 8)
	for uuid, want := range map[string]bool{
		"LVM-" + id: true, id: false, "LVM-" + id[1:]: false, "LVM-" + id + "x": false, "LVM-" + id[1:] + "/": false, "LVM-" + id[1:] + "-": false,
		"LVM-" + id + "-real": false, "CRYPT-LUKS2-" + id: false, "": false,
	} {
		if got := mapping.IsLogical(uuid); got != want {
			t.Errorf("IsLogical(%q) = %t, want %t", uuid, got, want)
		}
	}
}

func TestSplitLogical(t *testing.T) {
	for name, want := range map[string]string{ // "" is none
		"vg-lv": "vg lv", "debian--vg-root": "debian-vg root", "ubuntu--vg-ubuntu--lv": "ubuntu-vg ubuntu-lv", "a---b": "a- b", "vg-lv_rimage_0": "vg lv_rimage_0",
		"root": "", "": "", "-": "", "vg-": "", "-lv": "", "vg--lv": "", "vg-lv-real": "", "vg---": "", "v g-lv": "", "vg-l/v": "", "..-lv": "", "vg-..": "", "vg-lv-": "",
		strings.Repeat("v", 127) + "-lv": strings.Repeat("v", 127) + " lv", strings.Repeat("v", 128) + "-lv": "",
	} {
		group, volume, ok := mapping.SplitLogical(name)
		if ok != (want != "") || ok && group+" "+volume != want {
			t.Errorf("SplitLogical(%q) = %q, %q, %t, want %q", name, group, volume, ok, want)
		}
		if ok && mapping.LogicalName(group, volume) != name {
			t.Errorf("LogicalName(%q, %q) = %q, want %q", group, volume, mapping.LogicalName(group, volume), name)
		}
	}
}
