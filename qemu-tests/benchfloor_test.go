package qemutests

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeFloor makes the floor's image: its modules in order, and the
// dm-crypt table with the volume key in clear.
func (b *bench) makeFloor() {
	key, err := os.ReadFile(filepath.Join(b.dir, "volume.key"))
	if err != nil {
		b.t.Fatal(err)
	}

	modules := closure(b.t, b.s.modules, "virtio_pci", "virtio_blk", "aesni-intel", "ecb", "xts", "dm-crypt", "crc32c_generic", "ext4")
	tree := filepath.Join(b.dir, "floortree")
	var list strings.Builder
	for _, m := range modules {
		to := filepath.Join(tree, "m", filepath.Base(m))
		os.MkdirAll(filepath.Dir(to), 0o755)
		run(b.t, b.dir, "cp", filepath.Join(b.s.modules, m), to)
		list.WriteString("/m/" + filepath.Base(m) + "\n")
	}

	os.WriteFile(filepath.Join(tree, "modules"), []byte(list.String()), 0o644)
	table := fmt.Sprintf("aes-xts-plain64 %s 0 /dev/vda %d", hex.EncodeToString(key), 16<<20/512)
	os.WriteFile(filepath.Join(tree, "table"), []byte(table), 0o600)
	b.sh(`cp floor floortree/init && mkdir -p floortree/dev && mknod floortree/dev/console c 5 1
cd floortree && find . | sort | cpio -o -H newc --quiet --reproducible | zstd -19 -q >../floor.img`)
}

// closure orders modules after what they need, by modules.dep.
func closure(t *testing.T, dir string, names ...string) []string {
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}

	deps := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		deps[file] = strings.Fields(needs)
	}
	var order []string
	var add func(file string)

	add = func(file string) {
		if slices.Contains(order, file) {
			return
		}
		for _, d := range slices.Backward(deps[file]) {
			add(d)
		}
		order = append(order, file)
	}
	for _, n := range names {
		for file := range deps {
			if strings.TrimSuffix(filepath.Base(file), ".ko") == n {
				add(file)
			}
		}
	}

	return order
}
