package boot_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

const wwid = "36001405c0ffee0000000000000000001"

// twoPaths reaches the root's disk as sda and sdb, each changed as it is said.
func twoPaths(more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		a := m.Disks[0]
		a.Name = "sda"
		m.Disks = []*boottest.Disk{a, a.PathTo("sdb", wwid)}
		for _, f := range more {
			f(m)
		}
	}
}

// secondPart puts the root's volume into partition 2 of the disk.
func secondPart(m *boottest.Machine) {
	var all []*boottest.Disk
	for _, d := range m.Disks {
		part := d.PathTo(d.Name+"2", d.WWID)
		part.Part, part.Partition, part.From = d.Name, 2, 1<<20
		d.Bytes = append(make([]byte, 1<<20), d.Bytes...)
		all = append(all, d, part)
	}
	m.Disks = all
}

func known(name string) func(*boottest.Machine) {
	return func(m *boottest.Machine) { m.Plan.Multipath = []plan.Multipath{{WWID: wwid, Name: name}} }
}

// TestCopiedWhileTyping: a copy that came stays one, however often somebody
// types the passphrase; when it is gone, the volume is opened.
func TestCopiedWhileTyping(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := boottest.New("prompt")
			defer m.End()
			types(m, "guess", boottest.Recovery, boottest.Recovery)
			second := boottest.RootDisk()
			second.Name, second.Serial = "vdb", "disk-b"
			time.AfterFunc(30*time.Second, func() { m.Plug(second) })
			if gone {
				time.AfterFunc(150*time.Second, func() { m.Unplug(second) })
			}
			o, _ := m.Boot(10 * time.Minute)
			log := strings.Join(m.Log(), "\n")
			if (o.Root != "") != gone || strings.Count(log, "human: volume-clones: 2 devices") != 1 {
				t.Errorf("the copy is gone: %t; ended with %q:\n%s", gone, o, log)
			}
		})
	}
}

// TestPaths boots from a disk that is reached in several ways: one mapping is
// made of them, as multipathd names it. What is no path is refused.
func TestPaths(t *testing.T) {
	two := "map paths {Name:" + wwid + " WWID:" + wwid + " Sectors:8192 On:[{Major:254 Minor:0} {Major:254 Minor:1}] ALUA:false Part:{Number:0 Start:0 Sectors:0}}\n"
	over := "map root on /dev/mapper/" + wwid + "\n"
	disk := func(n int, change func(d *boottest.Disk)) func(*boottest.Machine) {
		return func(m *boottest.Machine) { change(m.Disks[n]) }
	}
	alone := []string{"multipath-one: root is opened over /dev/sda alone: ", "map root on /dev/sda\n"}
	for _, r := range []row{
		{name: "two paths", change: twoPaths(), end: "root", most: 2 * time.Second, log: []string{
			two, over, "log: paths root wwid=" + wwid + " paths=2",
			"write /run/udev/data/b253:100 E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n",
		}, never: []string{"multipath-one"}},
		{name: "to a partition", change: twoPaths(secondPart), end: "root", log: []string{
			"Sectors:10240 On:[{Major:254 Minor:0} {Major:254 Minor:2}] ALUA:false Part:{Number:2 Start:2048 Sectors:8192}}",
			"map root on /dev/mapper/" + wwid + "-part2\n", "write /run/udev/data/b253:100 ", "write /run/udev/data/b253:101 ",
		}},
		{name: "the better port is first", change: twoPaths(disk(0, func(d *boottest.Disk) { d.Rank = 1 })), end: "root", log: []string{"On:[{Major:254 Minor:1} {Major:254 Minor:0}]"}},
		{name: "ports with states", change: twoPaths(disk(0, func(d *boottest.Disk) { d.ALUA = true })), end: "root", log: []string{"ALUA:true", over}, never: []string{"ALUA:false"}},
		{name: "ports with states, and no handler", change: twoPaths(disk(0, func(d *boottest.Disk) { d.ALUA = true }), func(m *boottest.Machine) { m.NoALUA = true }), end: "root", log: []string{"ALUA:true", "ALUA:false", over}},
		{name: "switched off", change: twoPaths(cmdline("rd.multipath=0")), end: "root", log: append(alone, "rd.multipath=0 is on the kernel command line"), never: []string{"map paths"}},
		{name: "the kernel does not map them", change: twoPaths(func(m *boottest.Machine) { m.NoPaths = errors.New("invalid argument") }), end: "root", log: append(alone, "invalid argument")},
		{name: "one path that cannot be read", change: twoPaths(disk(1, func(d *boottest.Disk) { d.Reads = errors.New("input/output error") })), end: "root", log: []string{"map root on /dev/sda\n"}, never: []string{"map paths"}},
		{name: "one path of a disk that the plan knows", change: twoPaths(known("mpatha"), disk(1, func(d *boottest.Disk) { d.Reads = errors.New("input/output error") })), end: "root", log: []string{"map paths {Name:mpatha WWID:" + wwid + " Sectors:8192 On:[{Major:254 Minor:0}]", "map root on /dev/mapper/mpatha\n"}},
		{name: "another disk than the plan knows", change: func(m *boottest.Machine) { known("mpatha")(m); m.Disks[0].WWID = wwid + "2" }, end: "root", log: []string{"map root on /dev/vda\n"}},
		{name: "a path that comes while the machine waits", change: twoPaths(func(m *boottest.Machine) {
			second := m.Disks[1]
			m.Disks, m.KMS.State = m.Disks[:1], "pending"
			time.AfterFunc(10*time.Second, func() { m.Plug(second) })
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}), end: "root", log: []string{two, over}, never: []string{"volume-clones", "volume-multipath", "multipath-one"}},
		{name: "a path that comes while the machine waits, to a disk that is mapped", change: twoPaths(known("mpatha"), func(m *boottest.Machine) {
			second := m.Disks[1]
			m.Disks, m.KMS.State = m.Disks[:1], "pending"
			time.AfterFunc(10*time.Second, func() { m.Plug(second) })
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}), end: "root", log: []string{"map root on /dev/mapper/mpatha\n"}, never: []string{"Minor:1"}},
		{name: "a copy with an identity of its own", change: twoPaths(disk(1, func(d *boottest.Disk) { d.WWID = wwid[:32] + "2" })), end: "reboot", log: []string{"volume-clones: 2 devices carry the UUID"}, never: []string{"map root"}},
		{name: "a copy that comes while the machine waits", change: twoPaths(func(m *boottest.Machine) {
			second := m.Disks[1]
			second.WWID = wwid[:32] + "2"
			m.Disks, m.KMS.State = m.Disks[:1], "pending"
			time.AfterFunc(10*time.Second, func() { m.Plug(second) })
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}), end: "reboot", log: []string{"human: volume-clones: 2 devices carry the UUID", "human: unlock: volume-clones: 2 devices carry the UUID"}, never: []string{"unlock root keyslot"}},
		{name: "a copy with the disk's own identity, and another header", change: twoPaths(disk(1, func(d *boottest.Disk) {
			d.Bytes = bytes.Clone(d.Bytes)
			d.AddOddKeyslot()
		})), end: "reboot", log: []string{"volume-clones: ", "say that they are the disk " + wwid + ", and have different headers: one is a copy"}, never: []string{"map root"}},
		{name: "only a serial number", change: twoPaths(disk(0, func(d *boottest.Disk) { d.WWID = "" }), disk(1, func(d *boottest.Disk) { d.WWID = "" })), end: "reboot", log: []string{"volume-multipath: "}, never: []string{"map root"}},
		{name: "one has an identity", change: twoPaths(disk(0, func(d *boottest.Disk) { d.WWID = "" })), end: "reboot", log: []string{"volume-clones: "}, never: []string{"map root"}},
		{name: "what is mapped goes from the top", change: twoPaths(secondPart, func(m *boottest.Machine) { m.Plan.Root.Device = "LABEL=other" }), end: "reboot", log: []string{
			"remove mapping root\n    0.2s remove mapping " + wwid + "-part2\n    0.2s remove mapping " + wwid + "\n",
		}},
		{name: "a header of its own", change: twoPaths(func(m *boottest.Machine) {
			m.Plan.Volumes[0].Header, m.Plan.Volumes[0].Serial = &plan.HeaderFile{Path: "/root.hdr"}, "disk-a"
			m.Keys = map[string]string{m.Plan.Volumes[0].HeaderInImage(): m.Disks[0].Detach()}
			m.Disks[1].Bytes = m.Disks[0].Bytes
		}), end: "root", log: []string{two, over}},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}
