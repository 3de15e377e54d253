package hosttab_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"latchkey/internal/hosttab"
)

// tpm2-measure-pcr= is seen where it is on, in any of systemd's words.
func TestMeasured(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		line string
		want bool
	}{
		{"swap /dev/sda2 - tpm2-device=auto,tpm2-measure-pcr=yes", true},
		{"swap /dev/sda2 - tpm2-measure-pcr=15", true},
		{"swap /dev/sda2 - luks,tpm2-measure-pcr=no", false},
		{"swap /dev/sda2 - tpm2-measure-pcr=Off", false},
		{"swap /dev/sda2 - tpm2-measure-bank=sha256", false},
		{"#swap /dev/sda2 - tpm2-measure-pcr=yes", false},
		{"swap /dev/sda2", false},
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/crypttab"), []byte("root UUID=1 none luks\n"+row.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := hosttab.Host{Root: root}.Measured()
		if err != nil || slices.Equal(names, []string{"swap"}) != row.want || !row.want && len(names) > 0 {
			t.Errorf("%q: Measured = %q, %v, want swap: %t", row.line, names, err, row.want)
		}
	}
	if names, err := (hosttab.Host{Root: t.TempDir()}).Measured(); err != nil || len(names) > 0 {
		t.Errorf("without a crypttab: %q, %v", names, err)
	}
}
