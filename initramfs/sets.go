package initramfs

import (
	"debug/elf"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// always are the modules that every boot loads, by name or alias: the
// mapping and its ciphers. What the kernel has built in is passed over.
var always = []string{
	"dm-mod", "dm-crypt", "xts", "ecb", "crypto-xts", "crypto-aes", "aesni-intel", "aes-arm64", "aes-ce-blk", "aes-neon-blk", "encrypted-keys",
	"crypto-xts(aes)", "crypto-ecb(aes)", // what a processor does as a whole
}

// requested is what file systems ask for by request_module, which nobody
// answers in an initramfs, when their superblock has the feature
// (fs/quota/dquot.c, fs/unicode/utf8-core.c). The init loads them when it
// has seen the superblock: device.Super.
var requested = map[string][]string{"ext4": {"quota_v2", "utf8data"}, "f2fs": {"quota_v2", "utf8data"}}

// universal are the folders and files under kernel/ whose modules go into
// an image for any machine: buses, disks, wired networks, TPMs, and the
// file systems a root may have.
var universal = []string{
	"drivers/ata/", "drivers/block/virtio_blk.", "drivers/block/xen-blkfront.", "drivers/char/tpm/", "drivers/hv/hv_vmbus.",
	"drivers/char/hw_random/virtio-rng.", "drivers/hid/hid-hyperv.", "drivers/md/dm-crypt.", "drivers/md/dm-mod.", "drivers/md/dm-multipath.", "drivers/md/dm-raid.", "drivers/md/dm-service-time.",
	"drivers/md/bcache/", "drivers/md/md-mod.", "drivers/md/raid0.", "drivers/md/raid1.", "drivers/md/raid10.", "drivers/md/raid456.",
	"drivers/message/fusion/", "drivers/mmc/", "drivers/net/bonding/", "drivers/net/ethernet/", "drivers/net/hyperv/", "drivers/net/mdio/",
	"drivers/net/phy/", "drivers/net/usb/", "drivers/net/virtio_net.", "drivers/net/vmxnet3/", "drivers/net/xen-netfront.",
	"drivers/nvme/host/", "drivers/pci/controller/", "drivers/pci/hotplug/", "drivers/scsi/", "drivers/ufs/", "drivers/usb/dwc2/", "drivers/usb/dwc3/",
	"drivers/usb/host/", "drivers/usb/storage/", "drivers/virtio/", "drivers/xen/",
	"drivers/watchdog/hpwdt.", "drivers/watchdog/i6300esb.", "drivers/watchdog/iTCO_wdt.", "drivers/watchdog/sp5100_tco.", "drivers/watchdog/wdat_wdt.",
	"drivers/i2c/busses/i2c-i801.", "drivers/mfd/lpc_ich.", // which make iTCO's device
	"fs/btrfs/", "fs/erofs/", "fs/ext4/", "fs/f2fs/", "fs/squashfs/", "fs/xfs/", "net/8021q/", "net/bridge/bridge.",
}

// boards is what disks, links and TPMs of machines without ACPI wait for:
// power, clocks, pins and the buses between (Documentation/devicetree).
var boards = []string{
	"drivers/bus/", "drivers/clk/", "drivers/dma/", "drivers/extcon/", "drivers/firmware/", "drivers/gpio/", "drivers/i2c/busses/", "drivers/i2c/muxes/",
	"drivers/interconnect/", "drivers/irqchip/", "drivers/mailbox/", "drivers/memory/", "drivers/mfd/", "drivers/nvmem/", "drivers/phy/", "drivers/pinctrl/", "drivers/pmdomain/",
	"drivers/pwm/", "drivers/regulator/", "drivers/reset/", "drivers/rtc/", "drivers/soc/", "drivers/spi/", "drivers/tee/", "drivers/usb/phy/", "drivers/usb/typec/", "drivers/watchdog/",
}

// hasBoards tells whether the kernel is for machines that are described by
// a device tree rather than by ACPI.
func hasBoards(m elf.Machine) bool {
	return slices.Contains([]elf.Machine{elf.EM_AARCH64, elf.EM_ARM, elf.EM_RISCV}, m)
}

// keyboards is what a passphrase is typed on: USB, I²C, serial ports of
// laptops, and what BMCs and hypervisors show.
var keyboards = []string{
	"drivers/hid/hid-apple.", "drivers/hid/hid-cherry.", "drivers/hid/hid-generic.", "drivers/hid/hid-hyperv.", "drivers/hid/hid-lenovo.",
	"drivers/hid/hid-logitech", "drivers/hid/hid-microsoft.", "drivers/hid/hid.", "drivers/hid/i2c-hid/", "drivers/hid/surface-hid/", "drivers/hid/usbhid/",
	"drivers/i2c/busses/i2c-designware", "drivers/i2c/busses/i2c-i801.", "drivers/input/keyboard/atkbd.", "drivers/input/serio/", "drivers/input/spi-keyboard/",
	"drivers/input/keyboard/applespi.", "drivers/mfd/intel-lpss", "drivers/platform/surface/aggregator/", "drivers/usb/host/",
}

// sticks is what a key file on a device that is plugged in needs: USB and
// card readers, and the file systems that such devices have.
var sticks = []string{
	"drivers/mmc/", "drivers/scsi/sd_mod.", "drivers/usb/host/", "drivers/usb/storage/", "fs/ext4/", "fs/fat/", "fs/nls/nls_ascii.", "fs/nls/nls_cp437.",
	"fs/nls/nls_iso8859-1.", "fs/nls/nls_utf8.",
}

// unusual are modules in those folders that only few roots need, and that
// bring much along: fabrics, tapes, test drivers, hypervisors' own sides.
// modules.add in latchkey.yaml brings each back.
var unusual = []string{
	"bnx2fc", "bnx2i", "ch", "cxgb3i", "cxgb4i", "fcoe", "ib_core", "iscsi_tcp", "libiscsi", "libosd", "mlx4_ib", "mlx5_ib", "nvme_fc",
	"nvme_rdma", "nvme_tcp", "osst", "pmcraid", "qedf", "qedi", "scsi_debug", "scsi_transport_iscsi", "sg", "ses", "st", "target_core_mod",
	"xen_scsiback", "xen_pciback", "xen_privcmd", "xen_gntdev", "xen_gntalloc", "xen_evtchn", "xenfs", "virtio_mem", "virtio_balloon",
}

// inFolders tells whether a module is one of a set.
func inFolders(file string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(inTree(file), f) })
}

// inTree is where a module would be in the kernel's own tree. depmod.d(5)
// has others' modules in updates/, extra/ and weak-updates/, often in the
// same folders below, and DKMS's in updates/dkms/.
func inTree(file string) string {
	for _, dir := range []string{"updates/dkms/", "weak-updates/", "updates/", "extra/", "kernel/"} {
		file = strings.TrimPrefix(file, dir)
	}
	return file
}

// isOutOfTree tells whether a module is not the kernel's own.
func isOutOfTree(file string) bool { return !strings.HasPrefix(file, "kernel/") }

// heavy are what drivers depend on that no boot waits for: graphics, sound,
// cameras, wireless, hypervisors.
var heavy = []string{"drm", "snd", "videodev", "cfg80211", "mac80211", "kvm", "vboxdrv", "vmmon", "nvidia"}

// servesBoot tells whether a module of others serves a device that a boot
// may need. Its folder says nothing, so what it depends on does, and the
// class of the devices that it names (PCI Code and ID Assignment: 03 is
// display, 04 multimedia).
func (k *kernel) servesBoot(file string) bool {
	name := plan.ModuleName(file)
	if slices.Contains(heavy, name) || strings.HasPrefix(name, "nvidia") || strings.HasPrefix(name, "snd") {
		return false
	}
	for _, d := range k.deps[file] {
		if slices.Contains(heavy, plan.ModuleName(d)) {
			return false
		}
	}

	serves := false
	for _, a := range k.alias {
		if plan.ModuleName(a.name) != name || !deviceAlias(a.pattern) {
			continue
		}
		if strings.Contains(a.pattern, "bc03") || strings.Contains(a.pattern, "bc04") {
			return false
		}
		serves = true
	}
	return serves
}
