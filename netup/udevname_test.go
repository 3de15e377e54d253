package netup_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/netup"
)

// A fakeSysfs is files and symbolic links below a folder; a link begins with
// "->" and is a path in the folder.
type fakeSysfs map[string]string

func (f fakeSysfs) write(t *testing.T) string {
	t.Helper()
	sys, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range f {
		path = filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(filepath.Join(sys, to), path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

const multi = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00" // PCI configuration of a card with several functions

// Each row is a device in a made-up sysfs and what udev calls it there, in
// this or an older version of its scheme (faults/network.md H1).
func TestUdevScheme(t *testing.T) {
	const pf = "devices/pci0000:00/0000:00:01.0/0000:41:00.0"
	for _, row := range []struct {
		name, device string
		files        fakeSysfs
		want         string
	}{
		{"virtio", "devices/pci0000:00/0000:00:03.0/virtio0", nil, "enp0s3"},
		{"behind a bridge", "devices/pci0000:00/0000:00:1c.0/0000:0a:00.0", nil, "enp10s0"},
		{"second function", "devices/pci0000:00/0000:01:00.1", nil, "enp1s0f1"},
		{"first of several functions", "devices/pci0000:00/0000:01:00.0", fakeSysfs{"devices/pci0000:00/0000:01:00.0/config": multi}, "enp1s0f0"},
		{"second port", "devices/pci0000:00/0000:01:00.0", fakeSysfs{"class/net/eth0/dev_port": "1\n"}, "enp1s0d1"},
		{"another domain", "devices/pci0001:00/0001:01:00.0", fakeSysfs{"bus/pci/slots/7/address": "0001:01:00\n"}, "enP1s7 enP1p1s0"},
		{"domain of Hyper-V", "devices/pci10000:00/10000:01:00.0", nil, "enP65536p1s0"},
		{"on board", "devices/pci0000:00/0000:00:19.0", fakeSysfs{"devices/pci0000:00/0000:00:19.0/acpi_index": "1\n"}, "eno1 enp0s25"},
		{"on board by SMBIOS", "devices/pci0000:00/0000:00:19.0", fakeSysfs{"devices/pci0000:00/0000:00:19.0/index": "2\n"}, "eno2 enp0s25"},
		{"rubbish index", "devices/pci0000:00/0000:0b:00.0", fakeSysfs{"devices/pci0000:00/0000:0b:00.0/acpi_index": "16777215\n"}, "enp11s0"},
		{"in a slot", "devices/pci0000:00/0000:03:00.0", fakeSysfs{"bus/pci/slots/7/address": "0000:03:00\n"}, "ens7 enp3s0"},
		{"slot of ACPI", "devices/pci0000:00/0000:03:00.0", fakeSysfs{"devices/pci0000:00/0000:03:00.0/firmware_node/sun": "192\n"}, "ens192 enp3s0"},
		{"slot of the bridge above", "devices/pci0000:00/0000:00:1c.0/0000:03:00.1", fakeSysfs{
			"bus/pci/slots/5/address": "0000:00:1c\n", "devices/pci0000:00/0000:00:1c.0/0000:03:00.1/config": multi,
		}, "ens5f1 enp3s0f1"},
		{"slot of s390", "devices/pci0001:00/0001:00:00.0", fakeSysfs{
			"devices/pci0001:00/0001:00:00.0/function_id": "0x00000412\n", "bus/pci/slots/00000412/address": "0001:00:00\n",
		}, "ens1042 enP1p0s0"},

		// bnxt_en, mlx5_core and nfp name their ports.
		{"named port on board", pf, fakeSysfs{pf + "/acpi_index": "1\n", "class/net/eth0/phys_port_name": "p0\n", "class/net/eth0/dev_port": "0\n", pf + "/config": multi}, "eno1np0 eno1 enp65s0f0np0 enp65s0f0"},
		{"named second port", pf, fakeSysfs{"class/net/eth0/phys_port_name": "p1\n", "class/net/eth0/dev_port": "1\n"}, "enp65s0np1 enp65s0d1"},
		{"numbered port on board", pf, fakeSysfs{pf + "/index": "1\n", "class/net/eth0/dev_port": "1\n"}, "eno1d1 enp65s0d1"},
		{"virtual function", "devices/pci0000:00/0000:00:01.0/0000:41:00.3", fakeSysfs{
			"devices/pci0000:00/0000:00:01.0/0000:41:00.3/physfn": "->" + pf, pf + "/virtfn0": "->devices/pci0000:00/0000:00:01.0/0000:41:00.2",
			pf + "/virtfn1": "->devices/pci0000:00/0000:00:01.0/0000:41:00.3", pf + "/config": multi, "bus/pci/slots/3/address": "0000:41:00\n",
			"devices/pci0000:00/0000:00:01.0/0000:41:00.2/uevent": "",
		}, "ens3f0v1 enp65s0f0v1"},
		{"representor of a virtual function", pf, fakeSysfs{"class/net/eth0/phys_port_name": "pf0vf3\n"}, "enp65s0r3 enp65s0npf0vf3 enp65s0"},
		{"functions beyond eight", "devices/pci0000:00/0000:41:01.2", fakeSysfs{"devices/pci0000:00/0000:41:01.2/ari_enabled": "1\n"}, "enp65s1f2 enp65s1f10"},

		{"USB", "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3/1-2.3:1.0", nil, "enp0s20u2u3"},
		{"USB, another configuration and interface", "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:2.1", nil, "enp0s20u2c2i1"},
		{"USB of a board", "devices/platform/soc/3f980000.usb/usb1/1-1/1-1:1.0", nil, "enu1"},
		{"Broadcom core", "devices/pci0000:00/0000:02:00.0/bcma0:2", nil, "enp2s0b2"},
		{"InfiniBand", "devices/pci0000:00/0000:41:00.0", fakeSysfs{"class/net/eth0/type": "32\n"}, "ibp65s0"},
		{"InfiniBand, old kernel", "devices/pci0000:00/0000:41:00.0", fakeSysfs{"class/net/eth0/type": "32\n", "class/net/eth0/dev_id": "0x1\n", "class/net/eth0/dev_port": "0\n"}, "ibp65s0d1"},
		{"Xen", "devices/vif-0", nil, "enX0"},
		{"s390", "devices/css0/0.0.0000/0.0.0600/virtio1", nil, "enc600"},
		{"s390 qeth", "devices/qeth/0.0.1000", nil, "enc1000"},
		{"POWER", "devices/vio/30000002", nil, "env2"},
		{"ACPI platform", "devices/platform/HISI00C2:00", nil, "enahisic2i0"},
		{"netdevsim", "devices/netdevsim10", fakeSysfs{"class/net/eth0/phys_port_name": "p1\n"}, "eni10np1"},
		{"device tree", "devices/platform/soc/fd580000.ethernet", fakeSysfs{
			"devices/platform/soc/fd580000.ethernet/of_node":     "->firmware/devicetree/base/soc/ethernet@7d580000",
			"firmware/devicetree/base/soc/ethernet@7d580000/reg": "", "firmware/devicetree/base/aliases/ethernet0": "/soc/ethernet@7d580000\x00",
			"firmware/devicetree/base/aliases/serial0": "/soc/serial@1\x00",
		}, "end0"},
		{"no alias in the device tree", "devices/platform/soc/fd580000.ethernet", fakeSysfs{
			"devices/platform/soc/fd580000.ethernet/of_node":     "->firmware/devicetree/base/soc/ethernet@7d580000",
			"firmware/devicetree/base/soc/ethernet@7d580000/reg": "", "firmware/devicetree/base/aliases/ethernet0": "/soc/ethernet@1\x00",
		}, ""},
		{"no bus that udev knows", "devices/platform/fixed", nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := fakeSysfs{row.device + "/uevent": "", "class/net/eth0/device": "->" + row.device, "class/net/eth0/address": ""}
			maps.Copy(files, row.files)
			got := netup.PlaceOf(files.write(t), "eth0")
			if names := strings.Join(got.Names, " "); names != row.want || !got.Bus || got.Radio {
				t.Errorf("PlaceOf() = %+v, want the names %q of hardware", got, row.want)
			}
		})
	}
}

func TestPlace(t *testing.T) {
	for _, row := range []struct {
		name       string
		files      fakeSysfs
		bus, radio bool
	}{
		{"made by software", fakeSysfs{"class/net/eth0/address": ""}, false, false},
		{"gone", fakeSysfs{"class/net/eth1/address": ""}, false, false},
		{"Wi-Fi", fakeSysfs{"class/net/eth0/device": "->devices/x", "devices/x/uevent": "", "class/net/eth0/phy80211/name": "phy0"}, true, true},
		{"Wi-Fi by its type", fakeSysfs{"class/net/eth0/device": "->devices/x", "devices/x/uevent": "", "class/net/eth0/uevent": "DEVTYPE=wlan\nINTERFACE=eth0\n"}, true, true},
		{"modem", fakeSysfs{"class/net/eth0/device": "->devices/x", "devices/x/uevent": "", "class/net/eth0/uevent": "INTERFACE=eth0\nDEVTYPE=wwan\n"}, true, true},
		{"switch port", fakeSysfs{"class/net/eth0/device": "->devices/x", "devices/x/uevent": "", "class/net/eth0/uevent": "DEVTYPE=dsa\n"}, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := netup.PlaceOf(row.files.write(t), "eth0"); got.Bus != row.bus || got.Radio != row.radio {
				t.Errorf("PlaceOf() = %+v, want Bus %v, Radio %v", got, row.bus, row.radio)
			}
		})
	}
}
