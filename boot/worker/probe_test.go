package worker

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// slowDisks is a System of disks that answer after a while.
type slowDisks struct {
	System
	blocks []device.Block
	disks  map[string]luks2test.Disk // by path
	after  map[string]time.Duration  // by path: how long opening takes
	fails  error

	mu    sync.Mutex
	opens map[string]int // by path
}

func (s *slowDisks) Blocks() ([]device.Block, error) { return s.blocks, s.fails }

func (s *slowDisks) Open(path string, _ bool) (File, error) {
	s.mu.Lock()
	s.opens[path]++
	s.mu.Unlock()
	time.Sleep(s.after[path])
	d, ok := s.disks[path]
	if !ok {
		return nil, errors.New("no medium")
	}
	return closer{d}, nil
}

type closer struct{ luks2test.Disk }

func (closer) Close() error { return nil }

func newSlowDisks(t *testing.T) *slowDisks {
	t.Helper()
	d := make(luks2test.Disk, 4<<20)
	if _, _, err := luks2.Format(d, luks2.NewVolume{UUID: testUUID, SizeBytes: 4 << 20, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: secret.Random(32), Random: true}); err != nil {
		t.Fatal(err)
	}
	block := func(name string) device.Block {
		return device.Block{Name: name, Path: "/dev/" + name, SizeBytes: 4 << 20}
	}
	return &slowDisks{
		blocks: []device.Block{block("vda"), block("sr0"), block("dm-0")},
		disks:  map[string]luks2test.Disk{"/dev/vda": d, "/dev/dm-0": d},
		after:  map[string]time.Duration{}, opens: map[string]int{},
	}
}

// A device that takes its time holds up no look, is not read twice at
// once, and counts when it has answered (faults/node.md M3).
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSlowDisks(t)
		sys.after["/dev/vda"], sys.after["/dev/sr0"] = 2*time.Second, time.Minute
		w := &worker{sys: sys, plan: &plan.Plan{Volumes: []plan.Volume{{UUID: testUUID, Name: "root"}}}, blocks: make(chan struct{}, 1)}
		s := w.newSearch()

		began := time.Now()
		err := s.look(context.Background()).required(false)
		if took := time.Since(began); took > probeWait || codes.Of(err) != "volume-missing" || !strings.Contains(err.Error(), "vda (no answer yet)") {
			t.Errorf("the first look took %s and gave %v, want volume-missing within %s", took, err, probeWait)
		}

		<-w.blocks // vda has answered
		found := s.look(context.Background())
		if err := found.required(false); err != nil || len(found.disks()) != 1 || found.disks()[0].Device != "/dev/vda" {
			t.Errorf("the next look gave %v, %v, want vda", found.disks(), err)
		}
		sys.mu.Lock()
		opens := maps.Clone(sys.opens)
		sys.mu.Unlock()
		if opens["/dev/vda"] != 1 || opens["/dev/sr0"] != 1 || opens["/dev/dm-0"] != 0 {
			t.Errorf("opened %v, want vda and sr0 once and no mapping", opens)
		}
		time.Sleep(2 * time.Minute)
	})
}

// A look that cannot even list the devices is no reason to give up.
func TestLookFails(t *testing.T) {
	sys := newSlowDisks(t)
	sys.fails = errors.New("no sysfs")
	w := &worker{sys: sys, plan: &plan.Plan{Volumes: []plan.Volume{{UUID: testUUID}}}}
	err := w.newSearch().look(context.Background()).required(false)
	if codes.Means(codes.Of(err)).Class != codes.Retry {
		t.Errorf("look = %v, want an error that is tried again", err)
	}
}

// What is wrong with a header has one of few codes of the boot's.
func TestHeaderErrors(t *testing.T) {
	rejected := func(change func(luks2test.Disk)) error {
		d := newSlowDisks(t).disks["/dev/vda"]
		change(d)
		_, err := luks2.Read(d, 4<<20)
		return err
	}
	for _, row := range []struct {
		name  string
		err   error
		tries int
		code  string
		text  string
	}{
		{"both copies damaged", rejected(func(d luks2test.Disk) { d[4200] ^= 1; d[16384+4200] ^= 1 }), 0, "headers-damaged", "root on /dev/vda"},
		{"LUKS1", luks2.ErrLUKS1, 0, "header-rejected", "luks1: true"},
		{"any other rule", luks2.ErrNotLUKS, 0, "header-rejected", "no LUKS header"},
		{"unreadable once", errors.New("EIO"), 1, "volume-missing", "reading /dev/vda: EIO"},
		{"unreadable three times", errors.New("EIO"), 3, "volume-io", "3 times"},
	} {
		err := headerError(plan.Volume{Name: "root"}, probed{block: device.Block{Path: "/dev/vda"}, err: row.err, tries: row.tries})
		if codes.Of(err) != row.code || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%s: %v with code %s, want %s and %q", row.name, err, codes.Of(err), row.code, row.text)
		}
	}
}

// sight picks the device that is the volume, by UUID and serial.
func TestSight(t *testing.T) {
	sys := newSlowDisks(t)
	h, err := luks2.Read(sys.disks["/dev/vda"], 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	one := func(name, serial string) probed {
		return probed{block: device.Block{Name: name, Path: "/dev/" + name, Serial: serial}, super: device.Super{Type: luksType, UUID: strings.ToUpper(testUUID)}, header: h}
	}
	on := func(name, disk string, partition int, size int64) probed {
		p := one(name, "a")
		p.block.Disk, p.block.Partition, p.block.SizeBytes = disk, partition, size
		return p
	}
	from := func(p probed, start int64) probed {
		p.block.FromBytes = start
		return p
	}
	foreignLUKS := device.Super{Type: luksType, UUID: testUUID}
	foreign := probed{block: device.Block{Name: "vdx"}, super: device.Super{Type: "ext4", UUID: testUUID}}
	for _, row := range []struct {
		name   string
		serial string
		probes []probed
		want   string // the device, or the code
	}{
		{"the only one", "", []probed{one("vda", "a"), foreign}, "/dev/vda"},
		{"a file system of this UUID is none", "", []probed{foreign}, "volume-missing"},
		{"none", "", nil, "volume-missing"},
		{"two", "", []probed{one("vda", "a"), one("vdb", "b")}, "volume-clones"},
		{"two, and the serial is named", "b", []probed{one("vda", "a"), one("vdb", "b")}, "/dev/vdb"},
		{"two of one serial", "a", []probed{one("vda", "a"), one("vdb", "a")}, "volume-clones"},
		{"two paths", "", []probed{on("sda", "sda", 0, 1<<30), on("sdb", "sdb", 0, 1<<30)}, "volume-multipath"},
		{"two paths to a partition", "a", []probed{on("sda2", "sda", 2, 1<<30), on("sdb2", "sdb", 2, 1<<30)}, "volume-multipath"},
		{"two disks' partitions 2 and 3", "", []probed{on("sda2", "sda", 2, 1<<30), on("sdb3", "sdb", 3, 1<<30)}, "volume-clones"},
		{"two partitions that begin at two places", "", []probed{on("sda2", "sda", 2, 1<<30), from(on("sdb2", "sdb", 2, 1<<30), 4096)}, "volume-clones"},
		{"two partitions of two sizes", "", []probed{on("sda2", "sda", 2, 1<<30), on("sdb2", "sdb", 2, 1<<29)}, "volume-clones"},
		{"two partitions of one disk", "", []probed{on("sda2", "sda", 2, 1<<30), on("sda3", "sda", 3, 1<<30)}, "volume-clones"},
		{"two disks without serial numbers", "", []probed{{block: device.Block{Path: "/dev/sda", Disk: "sda"}, super: foreignLUKS}, {block: device.Block{Path: "/dev/sdb", Disk: "sdb"}, super: foreignLUKS}}, "volume-clones"},
		{"two paths and a copy", "", []probed{on("sda", "sda", 0, 1<<30), on("sdb", "sdb", 0, 1<<30), one("sdc", "c")}, "volume-clones"},
		{"another serial", "c", []probed{one("vda", "a")}, "volume-missing"},
	} {
		s := sight(plan.Volume{UUID: testUUID, Name: "root", Serial: row.serial}, row.probes, []string{"vda"})
		got := codes.Of(s.err)
		if s.disk != nil {
			got = s.disk.Device
		}
		if got != row.want {
			t.Errorf("%s: sight = %s (%v), want %s", row.name, got, s.err, row.want)
		}
	}
}

// A volume with nofail is no reason to wait or to give up; of the others a
// broken rule comes before a disk that may still appear.
func TestRequired(t *testing.T) {
	missing, broken := codes.Fail("volume-missing", "not there"), codes.Fail("header-rejected", "broken")
	v := func(nofail bool, err error) sighting { return sighting{plan.Volume{NoFail: nofail}, nil, err} }
	for _, row := range []struct {
		name string
		all  sightings
		want error
	}{
		{"all there", sightings{v(false, nil), v(true, nil)}, nil},
		{"nofail is missing", sightings{v(false, nil), v(true, missing)}, nil},
		{"nofail is broken", sightings{v(false, nil), v(true, broken)}, nil},
		{"all have nofail: one of them is the root", sightings{v(true, nil), v(true, missing)}, missing},
		{"one is missing", sightings{v(false, nil), v(false, missing)}, missing},
		{"one is broken behind one that is missing", sightings{v(false, missing), v(false, broken)}, broken},
	} {
		if got := row.all.required(false); got != row.want {
			t.Errorf("%s: required = %v, want %v", row.name, got, row.want)
		}
	}
}

// The words of crypttab(5) reach dm-crypt, each its own option.
func TestOptions(t *testing.T) {
	for word, set := range map[string]func() bool{
		"read-only":          func() bool { return dmOptions(plan.Volume{Options: []string{"read-only"}}).ReadOnly },
		"discard":            func() bool { return dmOptions(plan.Volume{Options: []string{"discard"}}).AllowDiscards },
		"no-read-workqueue":  func() bool { return dmOptions(plan.Volume{Options: []string{"no-read-workqueue"}}).NoReadWorkqueue },
		"no-write-workqueue": func() bool { return dmOptions(plan.Volume{Options: []string{"no-write-workqueue"}}).NoWriteWorkqueue },
		"same-cpu-crypt":     func() bool { return dmOptions(plan.Volume{Options: []string{"same-cpu-crypt"}}).SameCPUCrypt },
		"submit-from-crypt-cpus": func() bool {
			return dmOptions(plan.Volume{Options: []string{"submit-from-crypt-cpus"}}).SubmitFromCryptCPUs
		},
	} {
		if !set() {
			t.Errorf("%s is not passed on", word)
		}
	}
}
