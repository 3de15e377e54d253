package boot_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot"
	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/lvm/lvmtest"
	"latchkey/unlock/md/mdtest"
)

// onHalves makes the two volumes of a machine halves of a mirror that holds
// data, with superblocks of a version, the second perhaps changed.
func onHalves(version string, data []byte, second mdtest.Member, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		addData(m, true, "kms")
		half := mdtest.Member{Version: version, Name: "till:root", Level: 1, Places: 2, Events: 9, Data: data}
		first := half.Device()
		half.Number, half.Events = 1, half.Events-second.Events
		if second.UUID != "" {
			half.UUID = second.UUID
		}
		m.Inside = map[string][]byte{"root": first, "data": half.Device()}
		m.Plan.Root.Device = "LABEL=system"
		for _, f := range more {
			f(m)
		}
	}
}

// on names the root.
func on(device string) func(*boottest.Machine) {
	return func(m *boottest.Machine) { m.Plan.Root.Device = device }
}

// dataAway takes the second volume's disk away, to come after that time;
// 0 is never.
func dataAway(after time.Duration) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		disk := m.Disks[1]
		m.Disks = m.Disks[:1]
		if after > 0 {
			time.AfterFunc(after, func() { m.Plug(disk) })
		}
	}
}

// TestInnerArrays boots roots in arrays the members of which are opened
// volumes, and fails with one line where it must. No half is mounted.
func TestInnerArrays(t *testing.T) {
	const array = "array raid1 till:root (" + mdtest.UUID + ")"
	halves := []string{"/dev/mapper/root on /sysroot", "/dev/mapper/data on /sysroot"}
	mounted := "mount /dev/md127 on /sysroot type ext4 (ro)"
	degraded := []string{"1.2 root\n", "md-degraded: " + array + " runs without member 1 of 2", mounted}
	ext4, pv := labeled("system"), lvmtest.PV{ID: lvmtest.PV0, Text: strings.Replace(lvmtest.Root, `[ "pv1", 2 ]`, `[ "pv0", 9 ]`, 1)}.Bytes()
	binary.LittleEndian.PutUint16(pv[2048*512+1024+56:], 0xef53)
	binary.LittleEndian.PutUint32(pv[2048*512+1024+96:], 0x40)
	whole, old, other := mdtest.Member{}, mdtest.Member{Events: 5}, mdtest.Member{UUID: "ffffffff:9b0e4f8d:8e572a1f:6f1b9d10"}
	never := func(m *boottest.Machine) { m.Plan.Degraded = plan.NeverDegraded }
	for _, r := range []row{
		{name: "superblocks at the end", change: onHalves("1.0", ext4, whole), end: "root", most: 2 * time.Second, log: []string{`run md127 "till:root" 1.0 root data`, mounted}, never: []string{"md-"}},
		{name: "superblocks at the beginning", change: onHalves("1.2", ext4, whole), end: "root", most: 2 * time.Second, log: []string{`run md127 "till:root" 1.2 root data`, mounted, `"root": "/dev/md127"`}, never: []string{"md-"}},
		{name: "old superblocks", change: onHalves("0.90", ext4, whole), end: "root", most: 2 * time.Second, log: []string{mounted}},
		{name: "by the array's node", change: onHalves("1.0", ext4, whole, on("/dev/md127")), end: "root", log: []string{mounted}},
		{name: "by a wrong name", change: onHalves("1.0", ext4, whole, on("/dev/md/boot")), end: "reboot", log: []string{"root-not-in-plan: root=/dev/md/boot is none of the opened volumes: root (linux_raid_member UUID=", "/dev/md127 (ext4 "}},
		{name: "a member is named", change: onHalves("1.0", ext4, whole, on("/dev/mapper/root")), end: "reboot", log: []string{"root-unusable: root=/dev/mapper/root holds a member of an array: name the array in root.device or root=, or the file system in it"}},
		{name: "nothing is recognized in it", change: onHalves("1.0", make([]byte, 4096), whole, on("/dev/md127")), end: "reboot", log: []string{"root-unusable: no file system is recognized in /dev/md127"}},

		{name: "a member is away", change: onHalves("1.2", ext4, whole, dataAway(0)), end: "root", most: 10 * time.Second, log: degraded},
		{name: "a member comes while it is waited for", change: onHalves("1.2", ext4, whole, dataAway(2*time.Second)), end: "root", log: []string{"volume-late: volume data has come, which may hold a member of " + array + ": beginning again, with it", "start worker 1", "1.2 root data\n", mounted}, never: []string{"md-degraded"}},
		{name: "a member is away, and that is never", change: onHalves("1.0", ext4, whole, dataAway(0), never), end: "reboot", log: []string{"md-degraded: " + array + " is not run: degraded is never in the plan, and it lacks members", "root-not-in-plan"}, never: []string{"run md"}},
		{name: "a volume is not opened", change: onHalves("1.2", ext4, whole, func(m *boottest.Machine) { delete(m.KMS.Keys, boottest.DataUUID) }), end: "root", most: 2 * time.Second, log: degraded},
		{name: "a member is out of date", change: onHalves("1.0", ext4, old), end: "root", log: []string{"1.0 root\n", "md-left-out: " + array + ": /dev/mapper/data is out of date and left out", mounted}},
		{name: "half of another array, and nobody needs it", change: onHalves("1.0", ext4, other, func(m *boottest.Machine) { m.Inside["root"], m.Plan.Root.Device = ext4, "/dev/mapper/root" }), end: "root", most: 2 * time.Second, log: []string{"mount /dev/mapper/root on /sysroot"}, never: []string{"run md", "md-"}},
		{name: "rd.md=0", change: onHalves("1.0", ext4, whole, cmdline("rd.md=0")), end: "root", log: []string{"md-unwanted: the command line does not want " + array, mounted}},
		{name: "rd.md=0, and nobody needs it", change: func(m *boottest.Machine) {
			onHalves("1.0", ext4, whole, on("/dev/mapper/root"), cmdline("rd.md=0"))(m)
			m.Inside["root"], m.Inside["data"] = ext4, mdtest.Member{Version: "1.0", Level: 1, Places: 1, Data: ext4}.Device()
		}, end: "root", log: []string{"mount /dev/mapper/root on"}, never: []string{"run md"}},
		{name: "the kernel does not run it", change: onHalves("1.0", ext4, whole, func(m *boottest.Machine) { m.NoArrays = errors.New("no such personality") }), end: "reboot", log: []string{"md-failed: " + array + ": no such personality", "root-not-in-plan"}},
		{name: "a damaged superblock", change: onHalves("1.0", ext4, whole, func(m *boottest.Machine) { m.Inside["data"][mdtest.Offset("1.0", len(m.Inside["data"]))+220]++ }), end: "root", log: append([]string{"md-damaged: /dev/mapper/data: a superblock of md at byte "}, degraded[1:]...)},

		{name: "LVM on it", change: onHalves("1.2", pv, whole, on("/dev/my-vg/root")), end: "root", log: []string{"map my--vg-root read-only=false [{0 40 linear 254:2 2048} {40 24 linear 254:2 2120}]", "mount /dev/mapper/my--vg-root on /sysroot type ext4 (ro)"}, never: []string{"md-"}},
		{name: "LVM on it, degraded", change: onHalves("1.2", pv, whole, on("/dev/my-vg/root"), dataAway(0)), end: "root", log: []string{"md-degraded: ", "mount /dev/mapper/my--vg-root on /sysroot type ext4 (ro)"}},
		{name: "LVM on a read-only half", change: onHalves("1.2", pv, whole, on("/dev/my-vg/root"), func(m *boottest.Machine) { m.Plan.Volumes[1].Options = []string{"read-only"} }), end: "root", log: []string{"map my--vg-root read-only=true"}},
		{name: "/usr on it", change: onHalves("1.0", labeled("usr"), whole, on("/dev/mapper/root"), cmdline("mount.usr=LABEL=usr"), func(m *boottest.Machine) { m.Inside["root"] = ext4 }), end: "root", log: []string{"runs without member 0 of 2", "mount /dev/mapper/root on", "mount /dev/md127 on /sysroot/usr"}},
	} {
		if r.sources = onlyKMS; !slices.ContainsFunc(r.log, func(l string) bool { return strings.HasPrefix(l, "mount /dev/mapper/root on") }) {
			r.never = append(r.never, halves...)
		}
		r.boot(t)
	}
}

// TestInnerArraysAreJudged: PID 1 mounts an array if all that it lies on was
// opened by this boot, and stops it before it closes that.
func TestInnerArraysAreJudged(t *testing.T) {
	const luks = "CRYPT-LUKS2-11111111222233334444555555555555-root"
	lv := boot.Mapping{UUID: "LVM-" + strings.Repeat("a", 64), Device: "253:9", On: []string{"/dev/md127"}}
	for _, tt := range []struct {
		name, root, want string
		on               []string
	}{
		{"on the volume", "/dev/md127", "mount /dev/md127 on /sysroot type ext4 (ro)", []string{"root"}},
		{"LVM on it", "vg-root", "mount /dev/mapper/vg-root on /sysroot type ext4 (ro)", []string{"root"}},
		{"on another disk, too", "/dev/md127", "root-not-in-plan: array /dev/md127 lies on sdb1, which is not in the plan", []string{"root", "sdb1"}},
		{"LVM on it, on another disk", "vg-root", "root-not-in-plan: array /dev/md127 lies on sdb1, which is not in the plan", []string{"root", "sdb1"}},
		{"on nothing", "/dev/md127", `root-not-in-plan: mapping "/dev/md127" is not in the plan`, nil},
		{"no array", "/dev/md126", `root-not-in-plan: mapping "/dev/md126" is not in the plan`, []string{"root"}},
		{"no array's name", "/dev/sda1", `root-not-in-plan: mapping "/dev/sda1" is not in the plan`, []string{"root"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(testPlan(nil))
			r.worker = func(_ int, c *child) {
				c.records <- wire.Record{Kind: wire.KindWantCiphers}
				for range 2 {
					<-c.orders
				}
				c.sys.mappings["root"] = boot.Mapping{UUID: luks, Device: "253:0"}
				c.sys.mappings["/dev/md127"] = boot.Mapping{Device: "9:127", On: tt.on}
				c.sys.mappings["vg-root"] = lv
				c.records <- wire.Record{Kind: wire.KindOpened, Name: "root"}
				c.records <- wire.Record{Kind: wire.KindRoot, Name: tt.root, Text: "ext4"}
				c.records <- wire.Record{Kind: wire.KindDone}
			}
			got := r.run(t)
			boots := strings.HasPrefix(tt.want, "mount")
			if !strings.Contains(got, tt.want) || boots != strings.Contains(got, "switch root") || strings.Contains(got, "b9:127") {
				t.Errorf("%s: the log lacks %q:\n%s", tt.name, tt.want, got)
			}
			top, array, root := strings.Index(got, "remove mapping vg-root"), strings.Index(got, "remove mapping /dev/md127"), strings.Index(got, "remove mapping root")
			if !boots && tt.on != nil && (top < 0 || array < top || root < array) {
				t.Errorf("%s: mappings were not removed from the top:\n%s", tt.name, got)
			}
		})
	}
}
