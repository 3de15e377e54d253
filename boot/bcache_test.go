package boot_test

import (
	"errors"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/unlock/bcache/bcachetest"
)

// cached puts the root's disk behind a cache: vda is the backing device and
// vdb the cache.
func cached(backing bcachetest.Device, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		if backing.Version == 0 {
			backing.Version = 1
		}
		behind := func(data []byte) []byte { backing.Data = data; return backing.Device() }
		m.Disks = []*boottest.Disk{m.Disks[0].Behind("vda", behind), {Name: "vdb", Bytes: bcachetest.Device{Version: 3, UUID: 9, Bytes: 1 << 20}.Device()}}
		m.Plan.Wait = time.Minute
		for _, f := range more {
			f(m)
		}
	}
}

// TestBcache boots roots behind caches, and fails with one line where it must.
// Nothing is opened on the backing device itself, and what the boot does not
// need the kernel does not get.
func TestBcache(t *testing.T) {
	clean, dirty, alone := bcachetest.Device{State: bcachetest.Clean}, bcachetest.Device{State: bcachetest.Dirty, Mode: 1, Version: 4}, bcachetest.Device{}
	unseen := func(m *boottest.Machine) { clear(m.Disks[0].Bytes[bcachetest.Offset : bcachetest.Offset+1<<20]) }
	damage := func(n int) func(*boottest.Machine) {
		return func(m *boottest.Machine) { m.Disks[n].Bytes[bcachetest.At+110]++ }
	}
	for _, r := range []row{
		{name: "clean", change: cached(clean), end: "root", most: 2 * time.Second, log: []string{"give bcache /dev/vdb\n", "give bcache /dev/vda\n", "bcache /dev/vdb,/dev/vda", "map root on /dev/bcache2"}, never: []string{"bcache-"}},
		{name: "dirty", change: cached(dirty), end: "root", most: 2 * time.Second, log: []string{"map root on /dev/bcache2"}},
		{name: "without a cache yet", change: cached(alone, without("vdb")), end: "root", most: 2 * time.Second, log: []string{"give bcache /dev/vda\n", "map root on /dev/bcache1"}},
		{name: "a cache that is not its own", change: cached(alone), end: "root", log: []string{"map root on /dev/bcache"}, never: []string{"give bcache /dev/vdb"}},
		{name: "the kernel has the cache already", change: cached(dirty, func(m *boottest.Machine) { m.Disks[1].Cached = true }), end: "root", log: []string{"give bcache /dev/vda\n", "map root on /dev/bcache2"}, never: []string{"give bcache /dev/vdb"}},
		{name: "the cache comes late", change: cached(dirty, func(m *boottest.Machine) {
			cache := m.Disks[1]
			m.Disks = m.Disks[:1]
			time.AfterFunc(20*time.Second, func() { m.Plug(cache) })
		}), end: "root", log: []string{"bcache-missing: /dev/vda is behind a cache", "map root on /dev/bcache2"}},
		{name: "the header is in the cache alone", change: func(m *boottest.Machine) { cached(dirty, unseen)(m) }, end: "reboot", log: []string{"5.0s log: bcache /dev/vdb,/dev/vda "}},

		{name: "a dirty one without its cache", change: cached(dirty, without("vdb")), end: "reboot", log: []string{"bcache-missing: /dev/vda is behind a cache of the set 01234567-89ab-cdef-0123-456789abcdef, which is not there: the newest of what it holds is there", "volume-missing: no LUKS2 volume", "seen: /dev/vda is behind a cache of the set 01234567-89ab-cdef-0123-456789abcdef, which is not there, vda bcache"}, never: []string{"give bcache"}},
		{name: "a clean one without its cache", change: cached(clean, without("vdb")), end: "reboot", log: []string{"bcache-missing: /dev/vda is behind a cache", "which is not there: it is not run without"}, never: []string{"give bcache"}},
		{name: "the cache is damaged", change: cached(clean, damage(1)), end: "reboot", log: []string{"bcache-missing: ", "/dev/vdb: damaged superblock of bcache: the checksum is wrong"}, never: []string{"give bcache"}},
		{name: "it is damaged itself", change: cached(clean, damage(0)), end: "reboot", log: []string{"/dev/vda: damaged superblock of bcache: the checksum is wrong", "vda bcache"}, never: []string{"give bcache", "map root"}},
		{name: "the kernel takes none", change: cached(clean, func(m *boottest.Machine) { m.NoCaches = errors.New("no such file or directory") }), end: "reboot", log: []string{"bcache-failed: giving /dev/vdb to bcache: no such file or directory"}, never: []string{"give bcache /dev/vda"}},
		{name: "of somebody else", change: func(m *boottest.Machine) {
			other := bcachetest.Device{Version: 1}
			m.Disks[0].Name = "vdc"
			m.Disks = append(m.Disks, &boottest.Disk{Name: "vdb", Bytes: other.Device()})
		}, end: "root", never: []string{"bcache"}},
		{name: "an old copy of what is there", change: cached(alone, func(m *boottest.Machine) {
			root := boottest.RootDisk()
			root.Name = "vdc"
			m.Disks = append(m.Disks, root)
		}), end: "root", most: 2 * time.Second, log: []string{"map root on /dev/vdc"}, never: []string{"give bcache"}},
		{name: "of somebody else, and nobody knows yet", change: cached(alone, func(m *boottest.Machine) {
			root := boottest.RootDisk()
			root.Name = "vdc"
			other := bcachetest.Device{Version: 1}
			m.Disks = []*boottest.Disk{{Name: "vdb", Bytes: other.Device()}}
			time.AfterFunc(4*time.Second, func() { m.Plug(root) })
		}), end: "root", log: []string{"map root on /dev/vdc"}, never: []string{"give bcache"}},
	} {
		r.sources = onlyKMS
		r.never = append(r.never, "map root on /dev/vda")
		r.boot(t)
	}
}
