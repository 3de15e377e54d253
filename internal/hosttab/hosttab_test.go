package hosttab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/hosttab"
)

const (
	uuid  = "5ca1ab1e-0000-4000-8000-00000000d150"
	other = "5ca1ab1e-0000-4000-8000-00000000d151"
)

// host is a root directory with these tables, on which /dev/vda2 is the
// volume.
func host(t *testing.T, crypttab, fstab string) hosttab.Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"etc/crypttab": crypttab, "etc/fstab": fstab, "dev/vda2": "", "dev/vda3": ""} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"by-uuid/" + uuid: "../../vda2", "by-partuuid/0001": "../../vda2", "by-partuuid/0002": "../../vda3"} {
		path := filepath.Join(root, "dev/disk", link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	return hosttab.Host{Root: root}
}

// A mapping whose name differs from the host's tables is warned of
// (faults/node.md M9).
func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name, crypttab, fstab string
		plan                  hosttab.Volume
		want                  []string // what each warning has in it
	}{
		{"no tables", "", "", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"Fedora's name", "luks-" + uuid + " UUID=" + uuid + " none discard\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, []string{`name: luks-` + uuid}},
		{"Debian's name", "vda2_crypt UUID=" + uuid + " none luks,discard\n", "/dev/mapper/vda2_crypt / ext4 errors=remount-ro 0 1\n", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"name: vda2_crypt"}},
		{"the same name", "root UUID=" + uuid + " none\n", "/dev/mapper/root / ext4 defaults 0 1\n", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"upper case, and quoted", "x UUID=\"" + strings.ToUpper(uuid) + "\"\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"name: x"}},
		{"by path", "x /dev/vda2\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"name: x"}},
		{"by link", "x /dev/disk/by-uuid/" + uuid + "\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"name: x"}},
		{"by partition", "x PARTUUID=0001\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"name: x"}},
		{"another partition", "x PARTUUID=0002\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"a comment", "# x UUID=" + uuid + "\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"half a line", "x\n", "", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"root from another mapping", "", "/dev/mapper/luks-x / ext4 defaults 0 1\n", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"/dev/mapper/luks-x"}},
		{"root by UUID", "", "UUID=1234 / ext4 defaults 0 1\n", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"data from another mapping", "", "/dev/mapper/x /srv ext4 defaults 0 1\n", hosttab.Volume{UUID: uuid, Name: "root"}, nil},
		{"a /usr that the plan has not", "", "UUID=1234 /usr ext4 ro 0 2\n", hosttab.Volume{UUID: uuid, Name: "root"}, []string{"mounts /usr from UUID=1234"}},
		{"a volume of another machine", "", "/dev/mapper/luks-x / ext4 defaults 0 1\n", hosttab.Volume{UUID: other, Name: "root"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := host(t, tt.crypttab, tt.fstab).Warnings([]hosttab.Volume{tt.plan}, hosttab.Mounts{})
			if err != nil || len(got) != len(tt.want) {
				t.Fatalf("Warnings = %q, %v, want %d", got, err, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("Warnings = %q, want %q in it", got[i], want)
				}
			}
		})
	}
}

// A plan that mounts /usr is not told to.
func TestUsrIsPlanned(t *testing.T) {
	got, err := host(t, "", "UUID=1234 /usr ext4 ro 0 2\n").Warnings([]hosttab.Volume{{UUID: uuid, Name: "root"}}, hosttab.Mounts{Usr: true})
	if err != nil || len(got) != 0 {
		t.Errorf("Warnings = %q, %v, want none", got, err)
	}
}

func TestCrypttabName(t *testing.T) {
	h := host(t, "swap /dev/vda9 /dev/urandom swap\ncryptroot UUID="+uuid+" none luks\n", "")
	if got, err := h.CrypttabName(uuid); err != nil || got != "cryptroot" {
		t.Errorf("CrypttabName = %q, %v, want cryptroot", got, err)
	}
	if got, err := h.CrypttabName(other); err != nil || got != "" {
		t.Errorf("CrypttabName of a volume that is not there = %q, %v", got, err)
	}
	if got, err := (hosttab.Host{Root: t.TempDir()}).CrypttabName(uuid); err != nil || got != "" {
		t.Errorf("CrypttabName without a table = %q, %v", got, err)
	}
}

// A table that cannot be read is an error, not an empty table.
func TestUnreadable(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/crypttab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := (hosttab.Host{Root: root}).Warnings([]hosttab.Volume{{UUID: uuid, Name: "root"}}, hosttab.Mounts{}); err == nil {
		t.Error("Warnings with a directory for a table succeeds")
	}
}
