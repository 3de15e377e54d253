package plan

import "strings"

// unusedHint names options that people know from dracut, initramfs-tools,
// mkinitcpio and systemd and that nothing here acts on. An option that asks
// for what is done anyway, or only sets how much is logged, is passed over.
func unusedHint(name string) hint {
	if reason, ok := unused()[name]; ok {
		return say(reason)
	}
	for _, family := range []struct{ prefix, reason string }{
		{"rd.latchkey.", "not an option that the command line may set: trust and volumes come from the image's plan only"},
		{"kcrypt.", "of Kairos' kcrypt options, challenger_server and mdns are read here"},
		{"rd.lvm.", "of LVM's options, rd.lvm=0, rd.lvm.vg= and rd.lvm.lv= are read here"},
		{"rd.md.", "of md's options, rd.md=0 and rd.md.uuid= are read here; arrays of firmware (imsm, ddf) are left alone"},
		{"rd.dm.", "firmware RAID is not there yet"},
		{"rd.multipath.", noMultipath},
		{"rd.live.", noNetRoot},
		{"rd.iscsi.", noNetRoot},
		{"rd.nvmf.", noNetRoot},
		{"rd.nfs.", noNetRoot},
		{"rd.nbd.", noNetRoot},
		{"rd.fcoe.", noNetRoot},
		{"rd.zfs.", "ZFS is not there yet"},
		{"iscsi_", noNetRoot},
		{"rd.znet", "channel devices of s390 are not set up here"},
		{"rd.zfcp", "channel devices of s390 are not set up here"},
		{"rd.dasd", "channel devices of s390 are not set up here"},
		{"systemd.verity", "dm-verity is not there yet: the root is what is inside the volume"},
	} {
		if strings.HasPrefix(name, family.prefix) {
			if near := nearest(name); near != "" {
				return always(family.reason + "; " + near + "= is one")
			}
			return say(family.reason)
		}
	}
	if near := nearest(name); near != "" {
		return always("not an option; the nearest is " + near + "=")
	}
	return nil
}

// always is say, whatever the option's value: a misspelled one means something.
func always(reason string) hint { return func(*Plan, Arg) string { return reason } }

func say(reason string) hint {
	if reason == "" {
		return nil
	}
	return func(_ *Plan, a Arg) string {
		if switchedOff(a) { // rd.lvm=0, rd.shell=0, …: as it is
			return ""
		}
		return reason
	}
}

const (
	noMD        = "arrays are found by their superblocks; rd.md.uuid=UUID says which are wanted"
	noNetRoot   = "a root over the network or from a live image is not there: the root is inside a volume of the plan"
	noMultipath = "of multipath's options, rd.multipath=0 is read here"
	noOverlay   = "an overlay over the root is root.overlay in latchkey.yaml, or rd.latchkey.overlay=tmpfs"
	noShell     = "there is no shell in this image; nothing is opened by it"
	noCrypt     = "volumes come from the image's plan; rd.luks.options= and rd.luks.name= refine them"
)

func unused() map[string]string {
	return map[string]string{
		// Read by boot and netup, or by fault injection in debug images.
		"rd.latchkey.keepnet": "", "rd.latchkey.fault": "",

		"rd.shell": noShell, "rd.break": "break points exist in debug images only; the boot goes on", "break": noShell,

		"rd.auto": "volumes come from the image's plan; nothing is assembled by itself",
		"rd.dm":   "firmware RAID is not there yet",
		"lvmwait": "rd.lvm.lv=GROUP/VOLUME is what maps a logical volume besides the root", "md": noMD, "raid": noMD, "zfs": "ZFS is not there yet", "bootfs": "ZFS is not there yet",

		"cryptopts": noCrypt, "cryptdevice": noCrypt, "cryptkey": noCrypt, "cryptroot": noCrypt, "cryptdm": noCrypt,
		"netroot": noNetRoot, "nfsroot": noNetRoot, "nfsopts": noNetRoot, "rd.live": noNetRoot, "boot": "",
		"rootfallback": "there is no second root: a root= that leads nowhere falls back to the image's",
		"roothash":     "dm-verity is not there yet: the root is what is inside the volume", "usrhash": "dm-verity is not there yet",
		"rd.overlay": noOverlay, "rd.live.overlay": noOverlay, "systemd.volatile": noOverlay, "rd.fips": "", "rd.cms": "channel devices of s390 are not set up here",
		"rd.ethtool": "links are not tuned here; they negotiate by themselves", "ib.pkey": "InfiniBand partitions are not there yet",
		"net.ifname_policy": "links keep the kernel's names here; options may use udev's names as well", "net.naming_scheme": "links keep the kernel's names here; options may use udev's names as well",
		"vconsole.keymap": "", "rd.vconsole.keymap": "",
	}
}
