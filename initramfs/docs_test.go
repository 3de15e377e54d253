package initramfs_test

import (
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/docexample"
)

// TestDocs: each latchkey.yaml in README and docs is taken as it stands.
func TestDocs(t *testing.T) {
	blocks := docexample.Blocks(t, "yaml latchkey.yaml")
	if len(blocks) == 0 {
		t.Error("no page has a latchkey.yaml")
	}
	for _, b := range docexample.Blocks(t, "yaml latchkey.yaml part") {
		b.Text += `
trust: {kms: ["lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="]}
volumes: [{uuid: 5ca1ab1e-0000-4000-8000-00000000d150}]
`
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(b.Text))
		if err != nil {
			t.Errorf("%s: %v", b, err)
			continue
		}
		if _, err := c.Plan(); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}
