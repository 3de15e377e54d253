package netup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/netup"
)

// Each row is a device in a made-up sysfs and what udev calls it there.
func TestAltNames(t *testing.T) {
	for _, row := range []struct {
		name, device string
		files        map[string]string // below sysfs
		want         string
	}{
		{"virtio", "devices/pci0000:00/0000:00:03.0/virtio0", nil, "enp0s3"},
		{"behind a bridge", "devices/pci0000:00/0000:00:1c.0/0000:0a:00.0", nil, "enp10s0"},
		{"second function", "devices/pci0000:00/0000:01:00.1", nil, "enp1s0f1"},
		{"first of several functions", "devices/pci0000:00/0000:01:00.0", map[string]string{"devices/pci0000:00/0000:01:00.0/config": strings.Repeat("\x00", 14) + "\x80" + "\x00"}, "enp1s0f0"},
		{"second port", "devices/pci0000:00/0000:01:00.0", map[string]string{"class/net/eth0/dev_port": "1\n"}, "enp1s0d1"},
		{"another domain", "devices/pci0001:00/0001:01:00.0", nil, "enP1p1s0"},
		{"on board", "devices/pci0000:00/0000:00:19.0", map[string]string{"devices/pci0000:00/0000:00:19.0/acpi_index": "1\n"}, "eno1 enp0s25"},
		{"in a slot", "devices/pci0000:00/0000:03:00.0", map[string]string{"bus/pci/slots/7/address": "0000:03:00\n"}, "ens7 enp3s0"},
		{"no PCI", "devices/platform/fixed", nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			sys, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}

			files := map[string]string{row.device + "/uevent": "", "class/net/eth0/address": ""}
			for path, text := range row.files {
				files[path] = text
			}

			for path, text := range files {
				path = filepath.Join(sys, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}

			if err := os.Symlink(filepath.Join(sys, row.device), filepath.Join(sys, "class/net/eth0/device")); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(netup.PlaceOf(sys, "eth0").Names, " "); got != row.want {
				t.Errorf("PlaceOf().Names = %q, want %q", got, row.want)
			}
		})
	}
}
