package boot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMappings: what sysfs says of mappings and of arrays that run, and what
// each stands on.
func TestMappings(t *testing.T) {
	sys := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		"class/block/dm-0/dm/name": "root\n", "class/block/dm-0/dm/uuid": "CRYPT-LUKS2-a-root\n", "class/block/dm-0/dev": "253:0\n", "class/block/dm-0/slaves/vda1": "",
		"class/block/dm-1/dm/name": "vg-root\n", "class/block/dm-1/dm/uuid": "LVM-x\n", "class/block/dm-1/dev": "253:1\n", "class/block/dm-1/slaves/md127": "", "class/block/dm-1/slaves/md5": "",
		"class/block/md127/dev": "9:127\n", "class/block/md127/slaves/dm-0": "", "class/block/md127/slaves/vdb": "", "block/md127/md/array_state": "read-auto\n",
		"class/block/md127p1/dev": "259:0\n", "class/block/md5/dev": "9:5\n", "block/md5/md/array_state": "inactive\n",
	} {
		write(file, text)
	}
	want := map[string]Mapping{
		"root":       {"CRYPT-LUKS2-a-root", "253:0", []string{"vda1"}},
		"vg-root":    {"LVM-x", "253:1", []string{"/dev/md127", "md5"}},
		"/dev/md127": {"", "9:127", []string{"root", "vdb"}},
	}
	got, err := mappings(sys)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("mappings: %v (-want +got):\n%s", err, diff)
	}
}
