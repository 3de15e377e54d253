package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"latchkey/boot/device"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
	"latchkey/unlock/md/mdtest"

	"latchkey/internal/secret"
)

const testUUID = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"

// bare is a System that has only what these tests give it.
type bare struct {
	System
	files   map[string][]byte
	numbers map[string]dm.Number
}

func (b bare) Open(path string, _ bool) (File, error) {
	if data, ok := b.files[path]; ok {
		return memory{bytes.NewReader(data)}, nil
	}
	return nil, errors.New("no such file")
}

func (b bare) Number(path string) (dm.Number, bool) {
	if i := slices.Index(b.paths(), path); i >= 0 {
		return dm.Number{Major: 253, Minor: uint32(i)}, true
	}
	n, ok := b.numbers[path]
	return n, ok
}

func (b bare) Blocks() (all []device.Block, err error) {
	for i, path := range b.paths() {
		all = append(all, device.Block{Major: 253, Minor: uint32(i), SizeBytes: int64(len(b.files[path]))})
	}
	return all, nil
}

func (b bare) paths() []string { return slices.Sorted(maps.Keys(b.files)) }

// memory is a File that is only read.
type memory struct{ *bytes.Reader }

func (memory) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (memory) Sync() error                        { return nil }
func (memory) Close() error                       { return nil }

func header(t *testing.T, label string) *luks2.Header {
	t.Helper()
	d := make(luks2test.Disk, 4<<20)
	h, _, err := luks2.Format(d, luks2.NewVolume{UUID: testUUID, Label: label, SizeBytes: 4 << 20, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: secret.Random(32), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// gpt is a disk whose second partition has a GUID: UEFI Specification,
// section 5.3.
func gpt(guid [16]byte) []byte {
	b := make([]byte, 40*512)
	h := b[512:]
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint64(h[72:], 2)   // first LBA of the entries
	binary.LittleEndian.PutUint32(h[80:], 128) // how many
	binary.LittleEndian.PutUint32(h[84:], 128) // bytes of each
	copy(b[2*512+128+16:], guid[:])
	return b
}

// What root= may say for a volume: its mapping, the file system in it, the
// container, or its partition.
func TestIsRoot(t *testing.T) {
	// The GUID 11223344-5566-7788-99aa-bbccddeeff00, its first three fields
	// little-endian.
	guid := [16]byte{0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00}
	const partUUID = "11223344-5566-7788-99aa-bbccddeeff00"
	w := &worker{sys: bare{
		files:   map[string][]byte{"/dev/vda": gpt(guid)},
		numbers: map[string]dm.Number{"/dev/disk/by-id/virtio-a-part2": {Major: 254, Minor: 2}, "/dev/vdb": {Major: 254, Minor: 16}},
	}}
	d := &disk{
		Volume: unlock.Volume{Name: "root", Device: "/dev/vda2", Header: header(t, "luks-label")},
		block:  device.Block{Name: "vda2", Path: "/dev/vda2", Major: 254, Minor: 2, Disk: "vda", Partition: 2, PartName: "system"},
	}
	inside := device.Super{Type: "ext4", UUID: "0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10", Label: "fs-label"}
	for _, row := range []struct {
		want string
		ok   bool
	}{
		{"/dev/mapper/root", true},
		{"/dev/mapper/other", false},
		{"/dev/mapper/luks-" + testUUID, true}, // what dracut calls it
		{"/dev/mapper/", false},
		{"UUID=" + inside.UUID, true},
		{"UUID=0C4F3A52-9B0E-4F8D-8E57-2A1F6F1B9D10", true},
		{`UUID="` + inside.UUID + `"`, true},
		{"UUID=" + testUUID, true}, // of the container
		{"UUID=", false},
		{"LABEL=fs-label", true},
		{"LABEL=luks-label", true},
		{"LABEL=FS-LABEL", false},
		{"LABEL=", false},
		{"PARTLABEL=system", true},
		{"PARTLABEL=other", false},
		{"PARTLABEL=", false},
		{"PARTUUID=" + partUUID, true},
		{"PARTUUID=00000000-5566-7788-99aa-bbccddeeff00", false},
		{"PARTUUID=", false},
		{"ZFS=rpool/ROOT", false},
		{"/dev/disk/by-uuid/" + inside.UUID, true},
		{"/dev/disk/by-uuid/" + testUUID, true},
		{"/dev/disk/by-uuid/", false},
		{"/dev/disk/by-label/fs-label", true},
		{"/dev/disk/by-partuuid/" + partUUID, true},
		{"/dev/disk/by-partlabel/system", true},
		{"/dev/disk/by-id/virtio-a-part2", true}, // by its number
		{"/dev/vda2", true},
		{"/dev/vdb", false},
		{"/dev/nothing", false},
	} {
		if got := w.isRoot(row.want, d, inside); got != row.ok {
			t.Errorf("root=%s: %t, want %t", row.want, got, row.ok)
		}
	}
}

// A whole disk has no PARTUUID, and neither has one that cannot be read.
func TestNoPartUUID(t *testing.T) {
	w := &worker{sys: bare{files: map[string][]byte{"/dev/vdb": make([]byte, 40*512)}}}
	for _, b := range []device.Block{{Disk: "vda"}, {Disk: "vda", Partition: 1}, {Disk: "vdb", Partition: 1}} {
		if got := w.partUUID(b); got != "" {
			t.Errorf("partUUID of %+v = %q, want none", b, got)
		}
	}
}

// The file system is told by what is in the mapping, or by the plan.
func TestRootDisk(t *testing.T) {
	ext4 := make([]byte, 4096)
	binary.LittleEndian.PutUint16(ext4[1024+56:], 0xef53)
	binary.LittleEndian.PutUint32(ext4[1024+96:], 0x40)
	h := header(t, "")
	opened := func(name string, open bool) *opening {
		return &opening{disk: &disk{Volume: unlock.Volume{Name: name, Header: h}}, open: open}
	}
	for _, row := range []struct {
		name  string
		root  plan.Root
		files map[string][]byte
		all   []*opening
		want  string
		fails string // part of the error
	}{
		{"the first volume", plan.Root{}, map[string][]byte{"/dev/mapper/root": ext4}, []*opening{opened("root", true)}, "root", ""},
		{"the second one", plan.Root{Device: "/dev/mapper/data"}, map[string][]byte{"/dev/mapper/root": ext4, "/dev/mapper/data": ext4}, []*opening{opened("root", true), opened("data", true)}, "data", ""},
		{"closed", plan.Root{}, nil, []*opening{opened("root", false)}, "", "root (closed)"},
		{"none of them", plan.Root{Device: "/dev/mapper/x"}, map[string][]byte{"/dev/mapper/root": ext4}, []*opening{opened("root", true)}, "", "none of the opened volumes: root (ext4"},
		{"a half of a mirror", plan.Root{FSType: "ext4"}, map[string][]byte{"/dev/mapper/root": mdtest.Member{Version: "1.0", Level: 1, Places: 2, Data: ext4}.Device()}, []*opening{opened("root", true)}, "", "root=/dev/mapper/root holds a member of an array: name the array in root.device or root=, or the file system in it; root (linux_raid_member"},
		{"nothing recognized", plan.Root{}, map[string][]byte{"/dev/mapper/root": make([]byte, 4096)}, []*opening{opened("root", true)}, "", "name it in root.fstype"},
		{"nothing recognized, but named", plan.Root{FSType: "f2fs"}, map[string][]byte{"/dev/mapper/root": make([]byte, 4096)}, []*opening{opened("root", true)}, "root", ""},
		{"no node", plan.Root{}, nil, []*opening{opened("root", true)}, "", "opening the mapping root"},
	} {
		w := &worker{sys: bare{files: row.files}, plan: &plan.Plan{Root: row.root, ImageRoot: row.root, Volumes: []plan.Volume{{Name: "root"}}}}
		r, err := w.rootDisk(w.lookInside(t.Context(), &openings{all: row.all}))
		switch {
		case row.fails != "" && (err == nil || !bytes.Contains([]byte(err.Error()), []byte(row.fails))):
			t.Errorf("%s: rootDisk = %v, want an error with %q", row.name, err, row.fails)
		case row.fails == "" && (err != nil || r.name != row.want):
			t.Errorf("%s: rootDisk = %v, %v, want %s", row.name, r, err, row.want)
		}
	}
}
