package boot_test

import (
	"bytes"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
	"latchkey/unlock/md/mdtest"
)

// TestRecognized: what a boot knows and does not assemble is named, and no
// volume on it is opened, nor mounted as what it seems to be.
func TestRecognized(t *testing.T) {
	half := func(level int) func(*boottest.Machine) {
		return func(m *boottest.Machine) {
			m.Plan.Degraded = plan.NeverDegraded
			m.Inside = map[string][]byte{"root": mdtest.Member{Version: "1.0", Level: level, Places: 2, Data: labeled("system")}.Device()}
		}
	}
	for _, r := range []row{
		{name: "two paths to the root's disk", change: func(m *boottest.Machine) {
			m.Disks = append(m.Disks, &boottest.Disk{Name: "vdb", Serial: m.Disks[0].Serial, Bytes: bytes.Clone(m.Disks[0].Bytes)})
		}, end: "reboot", log: []string{`volume-multipath: /dev/vda serial "disk-a", /dev/vdb serial "disk-a": they are paths to one disk, or copies with its serial number, and no WWID tells which; root is opened over none`}, never: []string{"map root"}},
		{name: "a second path that comes while the machine waits", change: func(m *boottest.Machine) {
			m.KMS.State = "pending"
			second := boottest.RootDisk()
			second.Name = "vdc"
			time.AfterFunc(10*time.Second, func() { m.Plug(second) })
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}, end: "reboot", log: []string{`volume-multipath: /dev/vda serial "disk-a", /dev/vdc serial "disk-a": they`}, never: []string{"unlock root keyslot"}},
		{name: "a half of a mirror in a volume", change: half(1), end: "reboot", log: []string{"root-unusable: root=/dev/mapper/root holds a member of an array: name the array in root.device or root="}, never: []string{"on /sysroot"}},
		{name: "a half of a mirror in a volume, by what it seems to hold", change: func(m *boottest.Machine) { half(1)(m); m.Plan.Root.Device = "LABEL=system" }, end: "reboot", log: []string{"root-not-in-plan: root=LABEL=system is none of the opened volumes: root (linux_raid_member"}, never: []string{"on /sysroot"}},
		{name: "a half of a mirror, as /usr", change: withData("", says("mount.usr=/dev/mapper/data"), func(m *boottest.Machine) {
			m.Plan.Degraded = plan.NeverDegraded
			m.Inside["data"] = mdtest.Member{Version: "1.0", Level: 1, Places: 2, Data: labeled("usr")}.Device()
		}), end: "root", log: []string{"usr-missing: /dev/mapper/data, which is to be /usr, is none of the opened volumes"}, never: []string{"on /sysroot/usr"}},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}
