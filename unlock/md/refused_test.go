package md_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"latchkey/unlock/md"
	"latchkey/unlock/md/mdtest"
)

// TestRefused: superblocks that would overflow, lead out of the device or
// contradict themselves are damaged, and say where.
func TestRefused(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name, version string
		change        func(b []byte) // from the superblock on, sealed again
		want          string
	}{
		{"no place", "1.2", func(b []byte) { le.PutUint32(b[92:], 0) }, "the array has 0 places for 2 devices"},
		{"more places than devices", "1.2", func(b []byte) { le.PutUint32(b[92:], 3) }, "the array has 3 places for 2 devices"},
		{"places that overflow", "1.2", func(b []byte) { le.PutUint32(b[92:], 1<<32-1) }, "the array has 65536 places for 2 devices"},
		{"no device", "1.2", func(b []byte) { le.PutUint32(b[220:], 0) }, "it has 0 devices"},
		{"more devices than there is room for", "1.2", func(b []byte) { le.PutUint32(b[220:], 1921) }, "it has 1921 devices"},
		{"devices that overflow", "1.2", func(b []byte) { le.PutUint32(b[220:], 1<<31) }, "it has 2147483648 devices"},
		{"a device beyond all", "1.2", func(b []byte) { le.PutUint32(b[160:], 2) }, "it is device 2 of 2"},
		{"a device that overflows", "1.2", func(b []byte) { le.PutUint32(b[160:], 1<<31) }, "it is device 65536 of 2"},
		{"a place beyond all", "1.2", func(b []byte) { le.PutUint16(b[256:], 2) }, "its place is 2 of 2"},
		{"data behind the end", "1.2", func(b []byte) { le.PutUint64(b[136:], 1<<20) }, "behind the end of the device"},
		{"data far behind the end", "1.2", func(b []byte) { le.PutUint64(b[128:], 1<<63) }, "its data is"},
		{"data whose end overflows", "1.2", func(b []byte) { le.PutUint64(b[128:], 1<<62); le.PutUint64(b[136:], 3<<62) }, "its data is"},
		{"data in the superblock", "1.2", func(b []byte) { le.PutUint64(b[128:], 8) }, "its data begins at sector 8, in front of it or in it"},
		{"no data", "1.2", func(b []byte) { le.PutUint64(b[136:], 9); le.PutUint64(b[80:], 0) }, "it has 9 sectors of data"},
		{"more used than there is", "1.2", func(b []byte) { le.PutUint64(b[80:], 4097) }, "the array uses 4097 sectors"},
		{"data behind the end of 1.0", "1.0", func(b []byte) { le.PutUint64(b[128:], 1<<20) }, "behind the end of the device"},
		{"raid10 without copies", "1.1", func(b []byte) { le.PutUint32(b[72:], 10); le.PutUint32(b[76:], 0x100) }, "layout 0x100 is none of raid10"},
		{"raid10 without far copies", "1.1", func(b []byte) { le.PutUint32(b[72:], 10); le.PutUint32(b[76:], 0x2) }, "layout 0x2 is none of raid10"},
		{"raid10 with too many copies", "1.1", func(b []byte) { le.PutUint32(b[72:], 10); le.PutUint32(b[76:], 0x202) }, "layout 0x202 is none of raid10"},
		{"a wrong checksum", "1.1", nil, "its checksum is wrong"},
		{"a wrong checksum of 0.90", "0.90", nil, "its checksum is wrong"},
		{"no place in 0.90", "0.90", func(b []byte) { le.PutUint32(b[4*10:], 0) }, "the array has 0 places for 27 devices"},
		{"too many places in 0.90", "0.90", func(b []byte) { le.PutUint32(b[4*10:], 28) }, "the array has 28 places for 27 devices"},
		{"a device beyond all in 0.90", "0.90", func(b []byte) { le.PutUint32(b[4*992:], 27) }, "it is device 27 of 27"},
		{"a place beyond all in 0.90", "0.90", func(b []byte) { le.PutUint32(b[4*(128+3):], 1<<31) }, "its place is 65536 of 2"},
	} {
		b := mdtest.Member{Version: tt.version, Level: 1, Places: 2, Bytes: 3 << 20}.Device()
		super := b[mdtest.Offset(tt.version, len(b)):]
		switch {
		case tt.change == nil:
			super[20]++
		case tt.version == "0.90":
			tt.change(super)
			mdtest.Seal0(super)
		default:
			tt.change(super)
			mdtest.Seal1(super)
		}
		m, err := md.Read(bytes.NewReader(b), "vda", int64(len(b)))
		if m == nil || m.Version != tt.version || m.At != int64(mdtest.Offset(tt.version, len(b))) {
			t.Fatalf("%s: Read = %+v, %v, want a member of %s", tt.name, m, err, tt.version)
		}
		if !errors.Is(err, md.ErrDamaged) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "vda: ") {
			t.Errorf("%s: Read = %v, want %v with %q", tt.name, err, md.ErrDamaged, tt.want)
		}
	}
}

// TestNoMember: what is no superblock is none, and no device is too small.
func TestNoMember(t *testing.T) {
	whole := mdtest.Member{Version: "1.1", Level: 1, Places: 2, Bytes: 2 << 20}.Device()
	old := mdtest.Member{Version: "0.90", Level: 1, Places: 2, Bytes: 2 << 20}.Device()
	binary.LittleEndian.PutUint32(old[mdtest.Offset("0.90", len(old))+8:], 89)
	newer := bytes.Clone(whole)
	newer[4] = 2
	for name, b := range map[string][]byte{
		"nothing": nil, "a sector": make([]byte, 512), "zeros": make([]byte, 1<<20), "a sector of a superblock": whole[:512],
		"version 0.89": old, "version 2": newer,
	} {
		if m, err := md.Read(bytes.NewReader(b), "vda", int64(len(b))); !errors.Is(err, md.ErrNone) {
			t.Errorf("Read of %s = %+v, %v, want %v", name, m, err, md.ErrNone)
		}
	}
	if m, err := md.Read(bytes.NewReader(whole), "vda", 1<<62); !errors.Is(err, md.ErrNone) {
		t.Errorf("Read of a device of 2^62 bytes = %+v, %v, want %v", m, err, md.ErrNone)
	}
}

// TestNeedsMdadm: what the kernel would write while it assembles, or cannot
// do alone, is named and left alone.
func TestNeedsMdadm(t *testing.T) {
	for _, tt := range []struct {
		features uint32
		level    int
		want     string
	}{
		{4, 5, "a reshape is under way"},
		{32, 5, "a reshape is under way"},
		{64, 5, "a reshape is under way"},
		{512, 5, "it has a write journal"},
		{1024, 5, "it has a partial parity log"},
		{2048, 5, "it has a partial parity log"},
		{256, 1, "it is a cluster's"},
		{1 << 13, 1, "it has features that are not known here: 0x2000"},
		{0, -1, "it is linear"},
		{0, -4, "it is multipath"},
		{0, 7, "it is raid7"},
	} {
		b := mdtest.Member{Version: "1.2", Level: tt.level, Places: 3, Features: tt.features}.Device()
		a := md.Arrays([]*md.Member{read(t, "vda", b)})[0]
		if !errors.Is(a.Problem, md.ErrUnsupported) || !strings.Contains(a.Problem.Error(), tt.want+": that needs mdadm, and is left alone") {
			t.Errorf("level %d with features %d = %v, want %q", tt.level, tt.features, a.Problem, tt.want)
		}
	}
	for _, features := range []uint32{0, 1, 2, 8, 16, 128, 4096} {
		b := mdtest.Member{Version: "1.2", Level: 1, Places: 1, Features: features}.Device()
		if a := md.Arrays([]*md.Member{read(t, "vda", b)})[0]; a.Problem != nil {
			t.Errorf("features %d = %v, want none", features, a.Problem)
		}
	}
	old := mdtest.Member{Version: "0.90", Level: 5, Places: 3}.Device()
	super := old[mdtest.Offset("0.90", len(old)):]
	super[8] = 91
	mdtest.Seal0(super)
	if a := md.Arrays([]*md.Member{read(t, "vda", old)})[0]; !errors.Is(a.Problem, md.ErrUnsupported) {
		t.Errorf("version 0.91 = %v, want %v", a.Problem, md.ErrUnsupported)
	}
}
