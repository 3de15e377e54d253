package boot_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot"
	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/lvm/lvmtest"
)

// onMirror makes the two volumes of a machine the legs of a mirror, the root
// of which has a label.
func onMirror(text string, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		addData(m, true, "kms")
		m.Inside = map[string][]byte{}
		for name, id := range map[string]string{"root": lvmtest.PV0, "data": lvmtest.PV1} {
			b := lvmtest.PV{ID: id, Text: text}.Bytes()
			lvmtest.Super(b[2048*512:], 1, 1<<62)
			copy(b[(2048+8)*512:], labeled("system"))
			copy(b[(2048+4*8)*512:], labeled("system"))
			m.Inside[name] = b
		}
		m.Plan.Root.Device = "LABEL=system"
		for _, f := range more {
			f(m)
		}
	}
}

// TestLegs boots roots of type raid1 in two LUKS volumes, whole and without
// a leg, and fails with one line where it must.
func TestLegs(t *testing.T) {
	away := func(m *boottest.Machine) { m.Disks = m.Disks[:1] }
	late := func(after time.Duration) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			disk := m.Disks[1]
			m.Disks = m.Disks[:1]
			time.AfterFunc(after, func() { m.Plug(disk) })
		}
	}
	never := func(m *boottest.Machine) { m.Plan.Degraded = plan.NeverDegraded }
	whole := []string{
		"map my--vg-root_rmeta_0 read-only=false [{0 8 linear 253:0 2048}]\n", "map my--vg-root_rimage_1 read-only=false [{0 16 linear 253:1 2080} {16 24 linear 253:1 2056}]\n",
		"map my--vg-root read-only=false [{0 40 raid raid1 3 0 region_size 8 2 253:2 253:3 253:4 253:5}]\n",
		"mount /dev/mapper/my--vg-root on /sysroot type ext4 (ro) ",
	}
	degraded := []string{
		"map my--vg-root read-only=false [{0 40 raid raid1 3 0 region_size 8 2 253:1 253:2 - -}]\n",
		"lvm-degraded: logical volume my-vg/root runs without 1 of its 2 legs; root_rimage_1: its physical volume " + lvmtest.PV1 + " is in none of the opened volumes", "mount /dev/mapper/my--vg-root on",
	}
	all := func(m *boottest.Machine) { m.Plan.Volumes[0].NoFail, m.Plan.Wait = true, 3*time.Minute }
	first := func(m *boottest.Machine) { m.Disks = m.Disks[1:] }
	for _, r := range []row{
		{name: "any leg may be away: the second", change: onMirror(lvmtest.Mirror, all, away), end: "root", most: 15 * time.Second, log: degraded},
		{name: "any leg may be away: the first", change: onMirror(lvmtest.Mirror, all, first), end: "root", most: 15 * time.Second, log: []string{"volume root stays closed: volume-missing", "lvm-degraded: ", "mount /dev/mapper/my--vg-root on"}},
		{name: "any leg may be away: it comes soon", change: onMirror(lvmtest.Mirror, all, late(4*time.Second)), end: "root", log: whole, never: []string{"lvm-", "-late"}},
		{name: "any leg may be away: both", change: onMirror(lvmtest.Mirror, all, away, func(m *boottest.Machine) { m.Disks = nil }), end: "reboot", log: []string{"180.0s log: disks found=0 code=volume-missing"}},
		{name: "any leg may be away, and that is never", change: onMirror(lvmtest.Mirror, all, away, never), end: "reboot", log: []string{"180.0s log: disks found=1 code=volume-missing"}},
		{name: "any leg may be away, and none has the root", change: onMirror(lvmtest.Mirror, all, late(time.Minute), func(m *boottest.Machine) { m.Inside["root"], m.Inside["data"] = labeled("x"), labeled("system") }), end: "root", log: []string{"volume-missing: volume data is not there, and what the plan names is in none of the others: root (ext4", "60.0s human: volume-late: volume data has come, which the boot may need", "mount /dev/mapper/data on"}},
		{name: "any leg may be away, and none has the root for long", change: onMirror(lvmtest.Mirror, all, away, func(m *boottest.Machine) { m.Inside["root"] = labeled("x") }), end: "reboot", most: 5 * time.Minute, log: []string{"volume-missing: volume data is not there", "root-not-in-plan: root=LABEL=system"}},
		{name: "whole", change: onMirror(lvmtest.Mirror), end: "root", most: 2 * time.Second, never: []string{"lvm-"}, log: append(
			whole, "write /run/udev/data/b253:6 E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n",
			"write /run/udev/data/b253:5 E:DM_UDEV_PRIMARY_SOURCE_FLAG=1 E:DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG=1 E:DM_UDEV_DISABLE_DISK_RULES_FLAG=1 E:DM_UDEV_DISABLE_OTHER_RULES_FLAG=1\n",
			"write /run/udev/data/b253:1 E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n",
		)},
		{name: "by path", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) { m.Plan.Root.Device = "/dev/my-vg/root" }), end: "root", log: whole},
		{name: "a leg is away", change: onMirror(lvmtest.Mirror, away), end: "root", most: 5 * time.Second, log: degraded, never: []string{"root_rmeta_1"}},
		{name: "a leg comes while it is waited for", change: onMirror(lvmtest.Mirror, late(2*time.Second)), end: "root", log: append(whole, "lvm-late: volume data has come, which may hold a part of my-vg/root: beginning again, with it", "start worker 1"), never: []string{"lvm-degraded"}},
		{name: "a leg comes after that", change: onMirror(lvmtest.Mirror, late(time.Hour)), end: "root", log: degraded},
		{name: "a leg is away, and that is never", change: onMirror(lvmtest.Mirror, away, never), end: "reboot", log: []string{"lvm-missing: logical volume my-vg/root runs without 1 of its 2 legs", "degraded is never in the plan"}, never: []string{"map my--vg"}},
		{name: "whole, and degraded is never", change: onMirror(lvmtest.Mirror, never), end: "root", log: whole},
		{name: "a leg's volume is not opened", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) { delete(m.KMS.Keys, boottest.DataUUID) }), end: "root", most: 2 * time.Second, log: degraded},
		{name: "no leg has a superblock", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) {
			for _, b := range m.Inside {
				clear(b[2048*512:][:512])
			}
		}), end: "reboot", log: []string{"lvm-blank: logical volume my-vg/root: none of its legs has a superblock"}, never: []string{"map my--vg"}},
		{name: "one leg has no superblock", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) { clear(m.Inside["data"][2048*512:][:512]) }), end: "root", most: 2 * time.Second, log: []string{
			"map my--vg-root read-only=false [{0 40 raid raid1 3 0 region_size 8 2 253:2 253:3 - -}]\n", "lvm-degraded: logical volume my-vg/root runs without 1 of its 2 legs; root_rimage_1: its part root_rmeta_1 has no superblock",
		}, never: []string{"map my--vg-root_rmeta_1"}},
		{name: "one leg has no superblock, and degraded is never", change: onMirror(lvmtest.Mirror, never, func(m *boottest.Machine) { clear(m.Inside["data"][2048*512:][:512]) }), end: "reboot", log: []string{"lvm-missing: logical volume my-vg/root runs without 1 of its 2 legs"}, never: []string{"map my--vg"}},
		{name: "the only leg has no superblock", change: onMirror(lvmtest.Mirror, away, func(m *boottest.Machine) { clear(m.Inside["root"][2048*512:][:512]) }), end: "root", log: degraded},
		{name: "a part of it alone", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) { m.Plan.Root.Device = "/dev/my-vg/root_rimage_0" }), end: "reboot", log: []string{"lvm-unsupported: logical volume my-vg/root_rimage_0: it is a part of another one"}, never: []string{"map my--vg"}},
		{name: "a leg is being rebuilt", change: onMirror(strings.Replace(lvmtest.Mirror, `"READ", "WRITE"]`+"\n\t\t\tflags = []\n\t\t\tsegment_count = 2", `"READ", "WRITE", "REBUILD"]`+"\n\t\t\tflags = []\n\t\t\tsegment_count = 2", 1)), end: "reboot", log: []string{`lvm-unsupported: root=LABEL=system is not in the opened volumes as far as they can be read; logical volume my-vg/root: its part root_rimage_1 has the flag "REBUILD"`}, never: []string{"map my--vg"}},
		{name: "on a read-only volume", change: onMirror(lvmtest.Mirror, func(m *boottest.Machine) { m.Plan.Volumes[1].Options = []string{"read-only"} }), end: "root", log: []string{"map my--vg-root_rmeta_0 read-only=false", "map my--vg-root_rimage_1 read-only=true", "map my--vg-root read-only=true"}},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}

// TestLegsAreJudged: PID 1 mounts a mirror if all that its parts lie on was
// opened by this boot, and takes its mappings away from the top.
func TestLegsAreJudged(t *testing.T) {
	uuid := func(c string) string { return "LVM-" + strings.Repeat(c, 64) }
	leg := func(n, on string) boot.Mapping {
		return boot.Mapping{UUID: uuid(n), Device: "253:1" + n, On: []string{on}}
	}
	for _, tt := range []struct {
		name, want string
		mappings   map[string]boot.Mapping
	}{
		{"on the volume", "mount /dev/mapper/vg-root on /sysroot type ext4 (ro)", map[string]boot.Mapping{"vg-a": leg("1", "root"), "vg-b": leg("2", "root"), "vg-root": {UUID: uuid("9"), Device: "253:9", On: []string{"vg-a", "vg-b"}}}},
		{"a leg on another disk", "root-not-in-plan: logical volume vg-b lies on sdb1, which is not in the plan", map[string]boot.Mapping{"vg-a": leg("1", "root"), "vg-b": leg("2", "sdb1"), "vg-root": {UUID: uuid("9"), Device: "253:9", On: []string{"vg-a", "vg-b"}}}},
		{"a leg on nothing", "root-not-in-plan: logical volume vg-root lies on vg-b, which is not in the plan", map[string]boot.Mapping{"vg-a": leg("1", "root"), "vg-b": {UUID: uuid("2")}, "vg-root": {UUID: uuid("9"), On: []string{"vg-a", "vg-b"}}}},
		{"a leg that is none", "root-not-in-plan: logical volume vg-root lies on vg-b, which is not in the plan", map[string]boot.Mapping{"vg-a": leg("1", "root"), "vg-b": {UUID: "CRYPT-PLAIN-b", On: []string{"root"}}, "vg-root": {UUID: uuid("9"), On: []string{"vg-a", "vg-b"}}}},
		{"too deep", "root-not-in-plan: logical volume vg-b lies on vg-a, which is not in the plan", map[string]boot.Mapping{"vg-a": leg("1", "root"), "vg-b": leg("2", "vg-a"), "vg-c": leg("3", "vg-b"), "vg-root": {UUID: uuid("9"), On: []string{"vg-c"}}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(testPlan(nil))
			r.worker = func(_ int, c *child) {
				c.records <- wire.Record{Kind: wire.KindWantCiphers}
				for range 2 {
					<-c.orders
				}
				c.sys.mappings["root"] = boot.Mapping{UUID: "CRYPT-LUKS2-" + strings.ReplaceAll(rootUUID, "-", "") + "-root", Device: "253:0"}
				for name, m := range tt.mappings {
					c.sys.mappings[name] = m
				}
				c.records <- wire.Record{Kind: wire.KindOpened, Name: "root"}
				c.records <- wire.Record{Kind: wire.KindRoot, Name: "vg-root", Text: "ext4"}
				c.records <- wire.Record{Kind: wire.KindDone}
			}
			got := r.run(t)
			boots := strings.HasPrefix(tt.want, "mount")
			if !strings.Contains(got, tt.want) || boots != strings.Contains(got, "switch root") {
				t.Errorf("%s: the log lacks %q:\n%s", tt.name, tt.want, got)
			}
			top, part, root := strings.Index(got, "remove mapping vg-root"), strings.Index(got, "remove mapping vg-a"), strings.Index(got, "remove mapping root")
			if !boots && (top < 0 || part < top || root < part) {
				t.Errorf("%s: mappings were not removed from the top:\n%s", tt.name, got)
			}
		})
	}
}
