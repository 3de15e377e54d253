package boot_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"latchkey/boot"
	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/lvm/lvmtest"
)

// labeled is an ext4 with a label.
func labeled(label string) []byte {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint16(b[1024+56:], 0xef53)
	binary.LittleEndian.PutUint32(b[1024+96:], 0x40)
	copy(b[1024+120:], label)
	return b
}

// withData has a second volume of the plan, with an ext4 of that label.
func withData(label string, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		addData(m, false, "kms")
		m.Inside = map[string][]byte{"data": labeled(label)}
		for _, f := range more {
			f(m)
		}
	}
}

func says(cmdline string) func(*boottest.Machine) {
	return func(m *boottest.Machine) { m.Cmdline = cmdline }
}

func noMount(targets ...string) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		m.NoMount = map[string]error{}
		for _, t := range targets {
			m.NoMount[t] = errors.New("wrong fs type")
		}
	}
}

// TestUsr mounts a /usr of its own before the pivot, from what the boot opened
// and nothing else.
func TestUsr(t *testing.T) {
	usr := func(u plan.Usr) func(*boottest.Machine) { return func(m *boottest.Machine) { m.Plan.Usr = u } }
	image := usr(plan.Usr{Device: "LABEL=usr"})
	plain := func(m *boottest.Machine) {
		m.Disks = append(m.Disks, &boottest.Disk{Name: "vdc", Bytes: labeled("plain")})
	}
	closed := func(m *boottest.Machine) { m.Plan.Volumes[1].NoFail, m.Disks = true, m.Disks[:1] }
	mounted := []string{"mount /dev/mapper/data on /sysroot/usr type ext4 (ro) "}
	never := []string{"on /sysroot/usr"}
	for _, r := range []row{
		{name: "the image's", change: withData("usr", image), end: "root", log: append(mounted, "usr data type=ext4 ro")},
		{name: "the command line's", change: withData("usr", says("mount.usr=LABEL=usr")), end: "root", log: mounted},
		{name: "by mapping, with a type and flags", change: withData("usr", says("mount.usr=/dev/mapper/data mount.usrfstype=xfs mount.usrflags=nodev,logbufs=4")), end: "root", log: []string{"mount /dev/mapper/data on /sysroot/usr type xfs (ro,nodev) logbufs=4"}},
		{name: "read-write", change: withData("usr", usr(plan.Usr{Device: "LABEL=usr", Flags: "rw"})), end: "root", log: []string{"mount /dev/mapper/data on /sysroot/usr type ext4 (rw) "}},
		{name: "read-write, by the command line", change: withData("usr", image, says("mount.usrflags=rw")), end: "root", log: append(mounted, "mount.usrflags=rw", "what is /usr is the image's to say")},
		{name: "read-write as the root", change: withData("usr", image, says("rw")), end: "root", log: []string{"mount /dev/mapper/data on /sysroot/usr type ext4 (rw) "}},
		{name: "a subvolume of the root", change: withData("", says("mount.usrflags=subvol=usr")), end: "root", log: []string{"mount /dev/mapper/root on /sysroot/usr type ext4 (ro) subvol=usr"}},
		{name: "a logical volume", change: onLVM("LABEL=system", lvmtest.Root, usr(plan.Usr{Device: "/dev/my-vg/data", FSType: "xfs"})), end: "root", log: []string{"map my--vg-data read-only=true", "mount /dev/mapper/my--vg-data on /sysroot/usr type xfs (ro)"}},
		{name: "none", change: withData("usr"), end: "root", never: never},

		{name: "another one by the command line than the image's", change: withData("usr", image, says("mount.usr=/dev/mapper/root")), end: "root", log: append(mounted, "mount.usr=/dev/mapper/root", "what is /usr is the image's to say"), never: []string{"mount /dev/mapper/root on /sysroot/usr"}},
		{name: "another root by the command line, which has it not", change: withData("", usr(plan.Usr{Flags: "subvol=usr"}), says("root=LABEL=other")), end: "root", log: []string{"mount /dev/mapper/root on /sysroot/usr type ext4 (ro) subvol=usr"}},
		{name: "the command line is wrong, and the image has none", change: withData("usr", says("mount.usr=LABEL=other")), end: "root", log: []string{"usr-missing: LABEL=other", "using the root as it is"}, never: never},
		{name: "the image's does not mount", change: withData("usr", image, says("mount.usrfstype=btrfs"), noMount("/sysroot/usr")), end: "reboot", log: []string{"usr: usr-unusable: mounting data as ext4", "unmount /sysroot\n"}, never: []string{"btrfs ("}},
		{name: "the command line's does not mount, and the image has none", change: withData("usr", says("mount.usr=LABEL=usr"), noMount("/sysroot/usr")), end: "root", log: []string{"usr-unusable: mounting data as ext4: wrong fs type: the command line is wrong; the root is used as it is"}},

		{name: "the image's is nowhere", change: withData("other", image), end: "reboot", log: []string{"usr-missing: LABEL=usr, which is to be /usr, is none of the opened volumes: root (ext4 UUID=00000000-0000-0000-0000-000000000000 LABEL=), data (ext4", "what to do: /usr is in none of the opened volumes"}, never: never},
		{name: "its volume is closed", change: withData("usr", image, closed), end: "reboot", log: []string{"usr-missing: LABEL=usr, which"}, never: never},
		{name: "on a disk that is not encrypted", change: withData("usr", usr(plan.Usr{Device: "LABEL=plain"}), plain), end: "reboot", log: []string{"usr-missing: LABEL=plain"}, never: never},
		{name: "on a disk that is not encrypted, by the command line", change: withData("usr", plain, says("mount.usr=/dev/vdc")), end: "root", log: []string{"usr-missing: /dev/vdc, which is to be /usr"}, never: never},
		{name: "no file system", change: onLVM("LABEL=system", lvmtest.Root, usr(plan.Usr{Device: "/dev/my-vg/data"})), end: "reboot", log: []string{"usr-unusable: no file system is recognized in my--vg-data, which is to be /usr"}, never: never},
		{name: "a part of a logical volume is missing", change: onLVM("LABEL=system", lvmtest.Root, usr(plan.Usr{Device: "/dev/my-vg/other"})), end: "reboot", log: []string{"usr-missing: /dev/my-vg/other"}, never: never},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}

// TestOverlay lays what is written over the root, in memory or on an opened
// volume.
func TestOverlay(t *testing.T) {
	over := func(o string) func(*boottest.Machine) { return func(m *boottest.Machine) { m.Plan.Root.Overlay = o } }
	below := "mount /dev/mapper/root on /run/latchkey/lower type ext4 (ro) "
	laid := "mount overlay on /sysroot type overlay (rw) lowerdir=/run/latchkey/lower,upperdir=/run/latchkey/overlay/upper,workdir=/run/latchkey/overlay/work"
	memory := []string{below, "mount tmpfs on /run/latchkey/overlay type tmpfs (rw) mode=0755", laid, "root root type=ext4 ro overlay=tmpfs"}
	plain := func(m *boottest.Machine) {
		m.Disks = append(m.Disks, &boottest.Disk{Name: "vdc", Bytes: labeled("plain")})
	}
	undone := "unmount /run/latchkey/overlay\n"
	for _, r := range []row{
		{name: "in memory", change: withData("top", over("tmpfs")), end: "root", log: memory, never: []string{"mount /dev/mapper/root on /sysroot type"}},
		{name: "in memory, by the command line", change: withData("top", says("rd.latchkey.overlay=tmpfs")), end: "root", log: memory},
		{name: "a root that is to be written to", change: withData("top", over("tmpfs"), says("rw rootflags=noatime")), end: "root", log: []string{below[:len(below)-2] + ",noatime)", "on /sysroot type overlay (rw,noatime)"}},
		{name: "on a volume", change: withData("top", over("LABEL=top")), end: "root", log: []string{below, "mount /dev/mapper/data on /run/latchkey/overlay type ext4 (rw) ", laid}},
		{name: "with /usr", change: withData("usr", over("tmpfs"), says("mount.usr=LABEL=usr")), end: "root", log: []string{laid, "mount /dev/mapper/data on /sysroot/usr type ext4 (ro) "}},

		{name: "on a volume, by the command line", change: withData("top", says("rd.latchkey.overlay=LABEL=top")), end: "root", log: []string{"is the image's to say (root.overlay in latchkey.yaml)", "mount /dev/mapper/root on /sysroot type ext4 (ro) "}, never: []string{"overlay type"}},
		{name: "the image's, taken away by the command line", change: withData("top", over("tmpfs"), says("rd.latchkey.overlay=0")), end: "root", log: append(memory, "root.overlay is tmpfs, and stays")},
		{name: "on a disk that is not encrypted", change: withData("top", over("LABEL=plain"), plain), end: "reboot", log: []string{"overlay-missing: root.overlay=LABEL=plain is none of the opened volumes: root (ext4"}, never: []string{"on /sysroot"}},
		{name: "the kernel has none, and the command line wants it", change: withData("top", says("rd.latchkey.overlay=tmpfs"), func(m *boottest.Machine) { m.NoOverlay = true }), end: "root", log: []string{"root-unusable: mounting an overlay over the root: no such device (is the module overlay in the image?): the command line is wrong", undone, "unmount /run/latchkey/lower\n", "mount /dev/mapper/root on /sysroot type ext4 (ro) "}},
		{name: "the kernel has none, and the image wants it", change: withData("top", over("tmpfs"), func(m *boottest.Machine) { m.NoOverlay = true }), end: "reboot", log: []string{"root: root-unusable: mounting an overlay over the root", undone}, never: []string{"on /sysroot type ext4"}},
		{name: "the root does not mount", change: withData("top", over("tmpfs"), noMount("/run/latchkey/lower")), end: "reboot", log: []string{"root-unusable: mounting root as ext4: wrong fs type"}, never: []string{"mount tmpfs on /run/latchkey"}},
		{name: "the volume does not mount", change: withData("top", over("LABEL=top"), noMount("/run/latchkey/overlay")), end: "reboot", log: []string{"root-unusable: mounting data as ext4: wrong fs type", "unmount /run/latchkey/lower\n"}, never: []string{"on /sysroot"}},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}

// TestRootFormsOnStrangers: PID 1 takes /usr and an overlay from what this
// boot opened only, whatever the worker says.
func TestRootFormsOnStrangers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Plan)
		kind   wire.Kind
		want   string
	}{
		{"usr", func(p *plan.Plan) { p.Usr.Device = "LABEL=usr" }, wire.KindUsr, `usr: usr-missing: root: root-not-in-plan: mapping "stranger" is not in the plan`},
		{"overlay", func(p *plan.Plan) { p.Root.Overlay = "LABEL=top" }, wire.KindOverlay, `root: root-unusable: root: root-not-in-plan: mapping "stranger" is not in the plan`},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(testPlan(tt.change))
			r.worker = func(_ int, c *child) {
				c.records <- wire.Record{Kind: wire.KindWantCiphers}
				for range 2 {
					<-c.orders
				}
				c.sys.mappings["root"] = boot.Mapping{UUID: "CRYPT-LUKS2-" + strings.ReplaceAll(rootUUID, "-", "") + "-root", Device: "253:0"}
				c.sys.mappings["stranger"] = boot.Mapping{UUID: "CRYPT-PLAIN-stranger", Device: "253:1"}
				c.records <- wire.Record{Kind: wire.KindOpened, Name: "root"}
				c.records <- wire.Record{Kind: tt.kind, Name: "stranger", Text: "ext4"}
				c.records <- wire.Record{Kind: wire.KindRoot, Name: "root", Text: "ext4"}
				c.records <- wire.Record{Kind: wire.KindDone}
			}
			if got := r.run(t); !strings.Contains(got, tt.want) || strings.Contains(got, "/dev/mapper/stranger") || strings.Contains(got, "switch root") {
				t.Errorf("%s: want %q and nothing mounted from it:\n%s", tt.name, tt.want, got)
			}
		})
	}
}
