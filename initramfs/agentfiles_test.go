package initramfs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// What the agent needs is written below a folder: the plan that the image
// would have, and the key files in it; again, it replaces them.
func TestWriteAgent(t *testing.T) {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "root.key")
	if err := os.WriteFile(keyFile, []byte("secret"), 0o400); err != nil {
		t.Fatal(err)
	}
	config, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(`
find: {urls: ["http://kms.local"]}
trust: {kms: ["lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="]}
net: vlan=lan.7:eth0
volumes: [{uuid: 5ca1ab1e-0000-4000-8000-00000000d150, name: root, sources: [kms, key-file: {path: `+keyFile+`}]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "image")
	for range 2 {
		p, warnings, err := initramfs.WriteAgent(out, config)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("WriteAgent = %q, %v", warnings, err)
		}
		file, err := os.ReadFile(filepath.Join(out, "plan.json"))
		if err != nil {
			t.Fatal(err)
		}
		if read, err := plan.Decode(file); err != nil || read.Volumes[0].Name != p.Volumes[0].Name {
			t.Errorf("the plan that was written: %v", err)
		}
	}
	key := filepath.Join(out, "keys/key-file")
	info, err := os.Stat(key)
	if text, _ := os.ReadFile(key); err != nil || string(text) != "secret" || info.Mode().Perm() != 0o400 {
		t.Errorf("the key file holds %q, %v, %v", text, info, err)
	}
}
