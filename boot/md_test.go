package boot_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
	"latchkey/unlock/md/mdtest"
)

// mirrored puts the root's disk into a mirror of two with superblocks of a
// version, on vda and vdb, each changed as it is said.
func mirrored(version string, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		root := m.Disks[0]
		super := mdtest.Member{Version: version, Name: "till:boot", Events: 9}
		second := super
		second.Number = 1
		m.Disks = []*boottest.Disk{root.Mirror("vda", super), root.Mirror("vdb", second)}
		m.Plan.Wait = time.Minute
		for _, f := range more {
			f(m)
		}
	}
}

// member makes disk n of the mirror anew.
func member(n int, super mdtest.Member) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		super.Number = n
		if super.Version == "" {
			super.Version = "1.0"
		}
		m.Disks[n] = boottest.RootDisk().Mirror(m.Disks[n].Name, super)
	}
}

// without takes disks away.
func without(names ...string) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		m.Disks = slices.DeleteFunc(m.Disks, func(d *boottest.Disk) bool { return slices.Contains(names, d.Name) })
	}
}

func cmdline(s string) func(*boottest.Machine) { return func(m *boottest.Machine) { m.Cmdline = s } }

// noHalf: whatever happens, no half of the mirror is opened, or refused as a
// clone of the other.
var noHalf = []string{"map root on /dev/vd", "volume-clones"}

// TestMirror is what it is all about: with its superblock at the end, each
// half of a mirror begins with the header of the volume that the mirror holds.
// Only the mirror is opened.
func TestMirror(t *testing.T) {
	const degraded = "md-degraded: array raid1 till:boot (" + mdtest.UUID + ") runs without member 1 of 2 (the array works without the member"
	gone := without("vdb")
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		line, name := degraded, "till:boot"
		if version == "0.90" {
			line, name = strings.Replace(degraded, " till:boot (", " ", 1), ""
			line = strings.Replace(line, ")", "", 1)
		}
		for _, r := range []row{
			{name: version, change: mirrored(version), end: "root", most: 2 * time.Minute, log: []string{`run md127 "` + name + `" ` + version + " vda vdb", "map root on /dev/md127"}, never: append(noHalf, "md-")},
			{name: version + ", a member is gone", change: mirrored(version, gone), end: "root", most: 2 * time.Minute, log: []string{`run md127 "` + name + `" ` + version + " vda", "map root on /dev/md127", line}, never: noHalf},
		} {
			r.sources = onlyKMS
			r.boot(t)
		}
	}
}

// TestArrays boots from arrays of all sorts, and does without them with one
// line.
func TestArrays(t *testing.T) {
	const failed = 0xfffe
	array := "array raid1 till:boot (" + mdtest.UUID + ")"
	with := []string{"map root on /dev/md127"}
	for _, r := range []row{
		{name: "a member is out of date", change: mirrored("1.0", member(1, mdtest.Member{Name: "till:boot", Events: 5})), end: "root", most: 2 * time.Minute, log: append(with, `run md127 "till:boot" 1.0 vda`+"\n", "md-left-out: "+array+": /dev/vdb is out of date and left out: it is at event 5, the others are at 9", "md-degraded"), never: append(noHalf, "already ran")},
		{name: "a loss that is known is not waited for", change: mirrored("1.0", member(0, mdtest.Member{Name: "till:boot", Events: 9, Places1: []uint16{0, failed}}), without("vdb")), end: "root", most: 2 * time.Second, log: append(with, "md-degraded"), never: noHalf},
		{name: "the other half ran alone", change: mirrored("1.0", member(0, mdtest.Member{Events: 9, Places1: []uint16{0, failed}}), member(1, mdtest.Member{Events: 9, Places1: []uint16{failed, 1}})), end: "reboot", log: []string{"md-conflict: array raid1", "each was in use without the other", "volume-missing"}, never: append(noHalf, "run md")},
		{name: "a copy of a member", change: mirrored("1.0", func(m *boottest.Machine) {
			m.Disks = append(m.Disks, &boottest.Disk{Name: "vdc", Bytes: bytes.Clone(m.Disks[1].Bytes)})
		}), end: "reboot", log: []string{"md-conflict: ", "are the same member: one is a copy; unplug it"}, never: append(noHalf, "run md")},
		{name: "a damaged superblock", change: mirrored("1.0", func(m *boottest.Machine) { m.Disks[1].Bytes[mdtest.Offset("1.0", len(m.Disks[1].Bytes))+20]++ }), end: "root", most: 2 * time.Minute, log: append(with, "md-damaged: /dev/vdb: a superblock of md at byte"), never: noHalf},
		{name: "both are damaged", change: mirrored("1.0", func(m *boottest.Machine) {
			for _, d := range m.Disks {
				d.Bytes[mdtest.Offset("1.0", len(d.Bytes))+20]++
			}
		}), end: "reboot", log: []string{"md-damaged", "volume-missing"}, never: noHalf},
		{name: "a reshape", change: mirrored("1.0", member(0, mdtest.Member{Name: "till:boot", Features: 4, Events: 9})), end: "reboot", log: []string{"md-unsupported: " + array + ": a reshape is under way: that needs mdadm, and is left alone", "volume-missing"}, never: append(noHalf, "run md")},
		{name: "Intel's firmware RAID", change: firmware, end: "reboot", log: []string{"md-unsupported: /dev/vda: it is Intel firmware RAID (IMSM): that needs mdadm", "vda isw_raid_member"}, never: append(noHalf, "run md")},
		{name: "Intel's firmware RAID, partitioned", change: partitioned, end: "reboot", log: []string{"volume-missing", "vda1 part_of_raid_member"}, never: append(noHalf, "run md")},
		{name: "the kernel refuses", change: mirrored("1.0", func(m *boottest.Machine) { m.NoArrays = errors.New("invalid argument") }), end: "reboot", log: []string{"md-failed: " + array + ": invalid argument", "volume-missing: ", "seen: " + array + ": invalid argument, vda linux_raid_member " + mdtest.UUID}, never: noHalf},
		{name: "the kernel refuses one that nobody needs", change: func(m *boottest.Machine) {
			data := boottest.DataDisk()
			m.Disks = append(m.Disks, data.Mirror("vdb", mdtest.Member{Version: "1.2"}), data.Mirror("vdc", mdtest.Member{Version: "1.2", Number: 1}))
			m.NoArrays = errors.New("invalid argument")
		}, end: "root", most: time.Minute, log: []string{"map root on /dev/vda", "code=md-failed"}, never: []string{"md-failed: "}},
		{name: "stripes without a member", change: striped(1), end: "reboot", log: []string{"lacks member 1 and needs 2 of 2", "volume-missing"}, never: append(noHalf, "run md")},
		{name: "stripes", change: striped(2), end: "root", most: 2 * time.Minute, log: with, never: noHalf},
		{name: "an array of arrays", change: nested, end: "root", most: 2 * time.Minute, log: []string{"run md127", "run md126", "map root on /dev/md12"}, never: noHalf},
		{name: "two arrays", change: mirrored("1.0", func(m *boottest.Machine) {
			addData(m, false, "kms")
			data := m.Disks[2]
			const other = "ffffffff:9b0e4f8d:8e572a1f:6f1b9d10"
			m.Disks = append(m.Disks[:2], data.Mirror("vdc", mdtest.Member{Version: "1.0", UUID: other}), data.Mirror("vdd", mdtest.Member{Version: "1.0", UUID: other, Number: 1}))
		}), end: "root", most: 2 * time.Minute, log: []string{"run md127", "run md126", "map root on /dev/md127", "map data on /dev/md126"}, never: noHalf},
		{name: "one that runs already", change: mirrored("1.0", func(m *boottest.Machine) {
			array := boottest.RootDisk()
			array.Name, m.Disks[0].Array, m.Disks[1].Array = "md5", "md5", "md5"
			clear(m.Disks[1].Bytes[mdtest.Offset("1.0", len(m.Disks[1].Bytes)):]) // what the kernel uses is a member, whatever is on it
			m.Disks = append(m.Disks, array)
		}), end: "root", most: 2 * time.Minute, log: []string{"map root on /dev/md5"}, never: append(noHalf, "run md", "md-")},
		{name: "a clone beside the mirror", change: mirrored("1.2", func(m *boottest.Machine) {
			clone := boottest.RootDisk()
			clone.Name = "vdc"
			m.Disks = append(m.Disks, clone)
		}), end: "reboot", log: []string{"volume-clones: 2 devices carry the UUID", "/dev/md127", "/dev/vdc"}, never: noHalf[:1]},
		{name: "never degraded", change: mirrored("1.0", without("vdb"), func(m *boottest.Machine) { m.Plan.Degraded, m.Plan.Wait = plan.NeverDegraded, time.Minute }), end: "reboot", log: []string{"md-degraded: " + array + " is not run: degraded is never in the plan", "volume-missing"}, never: append(noHalf, "run md")},
		{name: "at once", change: mirrored("1.0", without("vdb"), func(m *boottest.Machine) { m.Plan.Degraded = 0 }), end: "root", most: 2 * time.Second, log: with, never: noHalf},
		{name: "degraded, and nobody needs it", change: func(m *boottest.Machine) {
			data := boottest.DataDisk()
			m.Disks = append(m.Disks, data.Mirror("vdb", mdtest.Member{Version: "1.2"}))
		}, end: "root", most: time.Minute, log: []string{"map root on /dev/vda"}, never: []string{"run md", "md-"}},
		{name: "degraded at once, and nobody needs it", change: func(m *boottest.Machine) {
			data := boottest.DataDisk()
			m.Disks = append(m.Disks, data.Mirror("vdb", mdtest.Member{Version: "1.2"}))
			m.Plan.Degraded = 0
		}, end: "root", most: time.Minute, log: []string{"map root on /dev/vda"}, never: []string{"run md", "md-"}},
		{name: "rd.md=0", change: mirrored("1.0", cmdline("rd.md=0")), end: "root", most: 2 * time.Minute, log: append(with, "md-unwanted: the command line does not want "+array+", and a volume is missing: it is run all the same"), never: noHalf},
		{name: "another array is wanted", change: mirrored("1.0", cmdline("rd.md.uuid=ffffffff:9b0e4f8d:8e572a1f:6f1b9d10")), end: "root", most: 2 * time.Minute, log: append(with, "md-unwanted"), never: noHalf},
		{name: "this array is wanted", change: mirrored("1.0", cmdline("rd.md.uuid="+mdtest.UUID)), end: "root", most: 2 * time.Second, log: with, never: append(noHalf, "md-unwanted")},
		{name: "rd.md=0, and nobody needs it", change: func(m *boottest.Machine) {
			data := boottest.DataDisk()
			m.Disks = append(m.Disks, data.Mirror("vdb", mdtest.Member{Version: "1.2"}), data.Mirror("vdc", mdtest.Member{Version: "1.2", Number: 1}))
			m.Cmdline = "rd.md=0"
		}, end: "root", most: time.Minute, log: []string{"map root on /dev/vda"}, never: []string{"run md", "md-"}},
	} {
		if r.sources == nil {
			r.sources = onlyKMS
		}
		r.boot(t)
	}
}

// firmware makes the root's disk a member of an array of Intel's.
func firmware(m *boottest.Machine) {
	d := m.Disks[0]
	d.Bytes = append(d.Bytes, make([]byte, 1<<20)...)
	copy(d.Bytes[len(d.Bytes)-1024:], "Intel Raid ISM Cfg Sig. 1.3.00")
	m.Plan.Wait = time.Minute
}

// partitioned makes the root a partition of such a disk.
func partitioned(m *boottest.Machine) {
	root := m.Disks[0]
	disk := &boottest.Disk{Name: "vda", Bytes: make([]byte, len(root.Bytes)+2<<20)}
	copy(disk.Bytes[1<<20:], root.Bytes)
	copy(disk.Bytes[len(disk.Bytes)-1024:], "Intel Raid ISM Cfg Sig. 1.3.00")
	m.Plan.Wait = time.Minute
	m.Disks = []*boottest.Disk{disk, {Name: "vda1", Bytes: root.Bytes, Part: "vda", Partition: 1, From: 1 << 20}}
}

// striped has the root in stripes on n of two disks.
func striped(n int) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		m.Arrays = map[string][]byte{mdtest.UUID: m.Disks[0].Bytes}
		m.Disks, m.Plan.Wait = nil, time.Minute
		for i := range n {
			m.Disks = append(m.Disks, &boottest.Disk{Name: "vd" + string(rune('a'+i)), Bytes: mdtest.Member{Version: "1.2", Places: 2, Number: i, Bytes: 4 << 20}.Device()})
		}
	}
}

// nested has the root in a mirror, one half of which is an array itself.
func nested(m *boottest.Machine) {
	mirrored("1.0")(m)
	const inner = "ffffffff:9b0e4f8d:8e572a1f:6f1b9d10"
	m.Arrays = map[string][]byte{inner: m.Disks[0].Bytes}
	m.Disks = m.Disks[1:]
	for i := range 2 {
		m.Disks = append(m.Disks, &boottest.Disk{Name: "vd" + string(rune('c'+i)), Bytes: mdtest.Member{Version: "1.2", UUID: inner, Places: 2, Number: i, Bytes: 4 << 20}.Device()})
	}
}

// TestPartitionsOfMembers: which superblocks count on a disk with partitions.
func TestPartitionsOfMembers(t *testing.T) {
	root := boottest.RootDisk().Bytes
	disk := func(super mdtest.Member, size int) *boottest.Disk {
		super.Level, super.Places, super.Bytes = 1, 2, size
		d := &boottest.Disk{Name: "vda", Bytes: super.Device()}
		copy(d.Bytes[1<<20:], root[:len(root)-64<<10]) // and leaves the superblock
		return d
	}
	part := func(d *boottest.Disk, size int) *boottest.Disk {
		return &boottest.Disk{Name: "vda1", Bytes: d.Bytes[1<<20 : 1<<20+size], Part: "vda", Partition: 1, From: 1 << 20}
	}
	for _, tt := range []struct {
		name    string
		version string
		size    int           // of the disk, whose partition the root is
		slow    time.Duration // of each of the disk's reads
		end     string
		log     string
	}{
		{"a mirror with partitions in it", "1.0", len(root) + 2<<20, 0, "reboot", "vda1 part_of_raid_member"},
		{"a mirror with partitions in it, on a slow disk", "1.0", len(root) + 2<<20, 500 * time.Millisecond, "reboot", "volume-missing"},
		{"an old mirror with partitions in it", "0.90", len(root) + 2<<20, 0, "reboot", "vda1 part_of_raid_member"},
		{"an old superblock in the partition", "0.90", len(root) + 1<<20, 0, "root", "map root on /dev/vda1"},
		{"an old superblock in front of the partition", "1.2", len(root) + 2<<20, 0, "root", "map root on /dev/vda1"},
	} {
		row{
			name: tt.name, sources: onlyKMS, end: tt.end, log: []string{tt.log},
			change: func(m *boottest.Machine) {
				m.Plan.Degraded, m.Plan.Wait = plan.NeverDegraded, time.Minute
				d := disk(mdtest.Member{Version: tt.version}, tt.size)
				d.Slow = tt.slow
				m.Disks = []*boottest.Disk{d, part(d, len(root))}
			},
		}.boot(t)
	}
}

// TestLateMember: an array that lacks a member is waited for; if the member
// comes in time nothing is lost, and if it comes later it is left to the
// running system.
func TestLateMember(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  []string
		never []string
	}{
		{2 * time.Second, []string{"1.0 vda vdb"}, []string{"md-degraded", "md-left-out"}},
		{3500 * time.Millisecond, []string{"1.0 vda\n", "md-degraded", "md-left-out: /dev/vdb (member 1) came when md127 already ran without it"}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := boottest.New("kms")
			defer m.End()
			mirrored("1.0")(m)
			late := m.Disks[1]
			m.Disks = m.Disks[:1]
			m.KMS.State = "pending"
			go func() {
				time.Sleep(tt.after)
				m.Plug(late)
				time.Sleep(tt.after)
				m.KMS.Set("")
			}()
			o, ok := m.Boot(10 * time.Minute)
			log := strings.Join(m.Log(), "\n")
			if !ok || o.String() != "root" {
				t.Fatalf("ended with %q: %t, want the root:\n%s", o, ok, log)
			}
			for _, want := range append(tt.want, "map root on /dev/md127") {
				if !strings.Contains(log, want) {
					t.Errorf("a member after %s: the log lacks %q:\n%s", tt.after, want, log)
				}
			}
			for _, not := range append(tt.never, noHalf...) {
				if strings.Contains(log, not) {
					t.Errorf("a member after %s: the log has %q:\n%s", tt.after, not, log)
				}
			}
		})
	}
}
