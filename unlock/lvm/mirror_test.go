package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/lvm"
	"latchkey/unlock/lvm/lvmtest"
)

func mirrorOf(text string) []lvmtest.PV {
	return []lvmtest.PV{pv(lvmtest.PV0, text), pv(lvmtest.PV1, text)}
}

// mapped are the tables that make a volume, in order.
func mapped(t *testing.T, v *lvm.Volume) (tables []string) {
	t.Helper()
	numbers := map[string]string{"one": "253:0", "two": "253:1"}
	for _, p := range append(v.Parts(), v) {
		rows, err := p.Table(func(name string) string { return numbers[name] })
		if err != nil {
			t.Fatalf("Table of %s = %v", p, err)
		}
		numbers[p.MappingName()] = fmt.Sprint("253:", len(numbers))
		tables = append(tables, fmt.Sprintf("%s %v", p.MappingName(), rows))
	}
	return tables
}

// TestMirror: the tables are those that lvm2 makes (qemu-tests/scripts/lvm.txtar
// compares with dmsetup table), and a leg that is missing is "- -".
func TestMirror(t *testing.T) {
	both := mirrorOf(lvmtest.Mirror)
	one := []string{"my--vg-root_rmeta_0 [{0 8 linear 253:0 2048}]", "my--vg-root_rimage_0 [{0 40 linear 253:0 2056}]"}
	two := []string{"my--vg-root_rmeta_1 [{0 8 linear 253:1 2048}]", "my--vg-root_rimage_1 [{0 16 linear 253:1 2080} {16 24 linear 253:1 2056}]"}
	const missing = "its physical volume %s is in none of the opened volumes"
	for _, tt := range []struct {
		name  string
		pvs   []lvmtest.PV
		parts []string
		row   string
		lacks string
	}{
		{"whole", both, append(one, two...), "raid1 3 0 region_size 8 2 253:2 253:3 253:4 253:5", ""},
		{"without the second", both[:1], one, "raid1 3 0 region_size 8 2 253:2 253:3 - -", "logical volume my-vg/root runs without 1 of its 2 legs; root_rimage_1: " + fmt.Sprintf(missing, lvmtest.PV1)},
		{"without the first", []lvmtest.PV{both[1]}, []string{strings.ReplaceAll(two[0], "253:1", "253:0"), strings.ReplaceAll(two[1], "253:1", "253:0")}, "raid1 3 0 region_size 8 2 - - 253:2 253:3", "root_rimage_0: " + fmt.Sprintf(missing, lvmtest.PV0)},
		{"a leg that was missing", mirrorOf(strings.Replace(lvmtest.Mirror, `"/dev/mapper/two"
			status = ["ALLOCATABLE"]
			flags = []`, `"/dev/mapper/two"
			status = ["ALLOCATABLE"]
			flags = ["MISSING"]`, 1)), one, "raid1 3 0 region_size 8 2 253:2 253:3 - -", "in two was missing when the group was changed last"},
		{
			"rates and a leg that is not read", mirrorOf(strings.NewReplacer("region_size = 8", "region_size = 8 writebehind = 512 min_recovery_rate = 1024 max_recovery_rate = 2048",
				"root_rimage_1 {\n\t\t\tid = \"dddddd-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH\"\n\t\t\tstatus = [", "root_rimage_1 {\n\t\t\tid = \"dddddd-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH\"\n\t\t\tstatus = [\"WRITEMOSTLY\", ").Replace(lvmtest.Mirror)),
			append(one, two...), "raid1 11 0 min_recovery_rate 1024 max_recovery_rate 2048 write_mostly 1 max_write_behind 512 region_size 8 2 253:2 253:3 253:4 253:5", "",
		},
	} {
		s := set(t, tt.pvs...)
		v := s.Find("my-vg", "root")
		if v == nil || v.Usable() != nil || len(s.Visible()) != 1 {
			t.Fatalf("%s: my-vg/root = %v, %d visible, problems %v", tt.name, v, len(s.Visible()), s.Problems)
		}
		want := append(append([]string{}, tt.parts...), fmt.Sprintf("my--vg-root [{0 40 raid %s}]", tt.row))
		if diff := cmp.Diff(want, mapped(t, v)); diff != "" {
			t.Errorf("%s: tables (-want +got):\n%s", tt.name, diff)
		}
		if got := v.Lacks(); (got == "") != (tt.lacks == "") || !strings.Contains(got, tt.lacks) || strings.Contains(got, "\n") {
			t.Errorf("%s: Lacks = %q, want %q", tt.name, got, tt.lacks)
		}
		for _, p := range v.Parts() {
			if err := p.Usable(); !errors.Is(err, lvm.ErrUnsupported) || !strings.Contains(err.Error(), "part of another one") {
				t.Errorf("%s: %s alone: Usable = %v", tt.name, p, err)
			}
		}
	}
	s := set(t, both...)
	if got := s.Find("my-vg", "root_rimage_1").MappingUUID(); got != "LVM-"+groupID+"ddddddN4Of0KrpqFr9Y80heGlzSd2fKH" {
		t.Errorf("the UUID of a part is %s", got)
	}
	if diff := cmp.Diff([]string{"one", "two"}, s.Find("my-vg", "root").Devices()); diff != "" {
		t.Errorf("Devices: %s", diff)
	}
}

// TestMirrorReads: what is in a mirror is read from the leg that was written
// last, and is whole.
func TestMirrorReads(t *testing.T) {
	const whole = 1<<64 - 1
	for _, tt := range []struct {
		name     string
		one, two [2]uint64 // events and how far it is filled
		want     byte
	}{
		{"no superblocks", [2]uint64{}, [2]uint64{}, 'a'},
		{"both of one age", [2]uint64{7, whole}, [2]uint64{7, whole}, 'a'},
		{"the second is newer", [2]uint64{7, whole}, [2]uint64{9, whole}, 'b'},
		{"the first is newer", [2]uint64{9, whole}, [2]uint64{7, whole}, 'a'},
		{"the first is being filled", [2]uint64{9, 16}, [2]uint64{9, whole}, 'b'},
		{"the first has none", [2]uint64{}, [2]uint64{1, 16}, 'b'},
	} {
		var pvs []*lvm.PV
		for i, super := range [][2]uint64{tt.one, tt.two} {
			b := mirrorOf(lvmtest.Mirror)[i].Bytes()
			if super[0] > 0 {
				lvmtest.Super(b[2048*512:], super[0], super[1])
			}
			data := b[(2048+8)*512:]
			copy(data, bytes.Repeat([]byte{"ab"[i]}, 10*4096))
			pvs = append(pvs, read(t, b, [...]string{"one", "two"}[i]))
		}
		v := lvm.Assemble(pvs).Find("my-vg", "root")
		got := make([]byte, 40*512)
		if blank := tt.one[0]+tt.two[0] == 0; v.Blank() != blank || (v.Lacks() == "") == (tt.one[0] == 0 && !blank) {
			t.Errorf("%s: Blank = %t, Lacks = %q", tt.name, v.Blank(), v.Lacks())
		}
		if n, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{tt.want}, len(got))) {
			t.Errorf("%s: ReadAt = %d, %v, %q, want %q", tt.name, n, err, got[:4], tt.want)
		}
	}
}

// TestMirrorRefused: shapes that lvm2 is needed for, or that contradict
// themselves, end in one line.
func TestMirrorRefused(t *testing.T) {
	const part1, status = "root_rimage_1 {\n\t\t\tid = \"dddddd-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH\"\n\t\t\tstatus = [\"READ\", \"WRITE\"", "root_rimage_1 {\n\t\t\tid = \"dddddd-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH\"\n\t\t\tstatus = ["
	for _, tt := range []struct {
		name, old, new string
		kind           error // of the volume; nil: the group's metadata is damaged
		want           string
	}{
		{"a leg that is rebuilt", part1, status + `"READ", "WRITE", "REBUILD"`, lvm.ErrUnsupported, `its part root_rimage_1 has the flag "REBUILD"`},
		{"a flag to come", part1 + "]\n\t\t\tflags = [", part1 + "]\n\t\t\tflags = [\"FUTURE\"", lvm.ErrUnsupported, `its part root_rimage_1 has the flag "FUTURE"`},
		{"a leg that is split off", part1, status + `"READ", "VISIBLE"`, lvm.ErrUnsupported, "its part root_rimage_1 is split off"},
		{"a reshape", "region_size = 8", "region_size = 8 data_offset = 0", lvm.ErrUnsupported, "it is being reshaped"},
		{"checksums below", "type = \"striped\"", `type = "integrity"`, lvm.ErrUnsupported, "its part root_rmeta_0 is no plain one"},
		{"another kind", `type = "raid1"`, `type = "raid10"`, lvm.ErrUnsupported, `it is of type "raid10"`},
		{"the older mirror", `type = "raid1"`, `type = "mirror"`, lvm.ErrUnsupported, `it is of type "mirror"`},
		{"a part that is used twice", "root_rmeta_0 {", `snap { id = "eeeeee-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH" status = ["READ"] segment_count = 1
			segment1 { start_extent = 0 extent_count = 1 type = "snapshot" origin = "root_rimage_0" cow_store = "x" } } root_rmeta_0 {`, lvm.ErrUnsupported, `its part root_rimage_0: snap, of type "snapshot", uses it`},
		{
			"a second segment", "segment_count = 1\n\t\t\tsegment1 {\n\t\t\t\tstart_extent = 0\n\t\t\t\textent_count = 5\n\t\t\t\ttype = \"raid1\"",
			"segment_count = 2\n\t\t\tsegment2 { start_extent = 5 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [ \"pv0\", 8 ] }\n\t\t\tsegment1 {\n\t\t\t\tstart_extent = 0\n\t\t\t\textent_count = 5\n\t\t\t\ttype = \"raid1\"", nil, "root has 6 extents, and its part root_rimage_0 has 5",
		},

		{"itself for a part", `"root_rimage_0",`, `"root",`, nil, "root has the part root, which is taken"},
		{"a part twice", `"root_rimage_0",`, `"root_rimage_1",`, nil, "root has the part root_rimage_1, which is taken"},
		{"a part that is not there", `"root_rimage_0",`, `"other",`, nil, `root has the part "other", which is not there`},
		{"a number for a part", `"root_rimage_0",`, `7,`, nil, "which is not there"},
		{"a leg without metadata", `"root_rmeta_0", "root_rimage_0",`, `"root_rimage_0",`, nil, "2 legs, and 3 parts are named"},
		{"one leg", "device_count = 2", "device_count = 1", nil, "device_count is 1, want 2 to 10"},
		{"legs without end", "device_count = 2", "device_count = 1000000000000", nil, "device_count is 1000000000000"},
		{"fewer legs than are named", "device_count = 2", "device_count = 3", nil, "3 legs, and 4 parts are named"},
		{"regions of no power", "region_size = 8", "region_size = 7", nil, "region_size is 7, want a power of two"},
		{"regions of 0", "region_size = 8", "region_size = 0", nil, "region_size is 0"},
		{"no regions", "region_size = 8", "", nil, "region_size is no number"},
		{"a rate that overflows", "region_size = 8", "region_size = 8 max_recovery_rate = 9223372036854775807", nil, "max_recovery_rate is 9223372036854775807"},
		{"a rate below 0", "region_size = 8", "region_size = 8 min_recovery_rate = -1", nil, "min_recovery_rate is -1"},
		{"legs of several sizes", "extent_count = 5\n\t\t\t\ttype = \"raid1\"", "extent_count = 4\n\t\t\t\ttype = \"raid1\"", nil, "root has 4 extents, and its part root_rimage_0 has 5"},
		{"legs in one place", `"pv1", 1 ]`, `"pv0", 1 ]`, nil, `overlap in extent 1 of "pv0"`},
	} {
		text := strings.Replace(lvmtest.Mirror, tt.old, tt.new, 1)
		if text == lvmtest.Mirror {
			t.Fatalf("%s: the metadata has no %q", tt.name, tt.old)
		}
		s := set(t, mirrorOf(text)...)
		v := s.Find("my-vg", "root")
		var err error
		switch {
		case tt.kind == nil && len(s.Problems) == 1:
			err = s.Problems[0]
		case tt.kind != nil && v != nil:
			err = v.Usable()
		}
		kind := tt.kind
		if kind == nil {
			kind = lvm.ErrDamaged
		}
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, problems %v, want %q", tt.name, err, s.Problems, tt.want)
		}
	}

	long := strings.ReplaceAll(lvmtest.Mirror, "my-vg {", strings.Repeat("g", 50)+" {")
	if err := set(t, mirrorOf(long)...).Find(strings.Repeat("g", 50), "root").Usable(); !errors.Is(err, lvm.ErrUnsupported) || !strings.Contains(err.Error(), "root_rimage_0") {
		t.Errorf("parts with long names: Usable = %v", err)
	}
	if err := set(t, lvmtest.PV{ID: lvmtest.PV0[:31] + "xxxxxxx", Text: lvmtest.Mirror}).Find("my-vg", "root").Usable(); !errors.Is(err, lvm.ErrMissing) {
		t.Errorf("no leg at all: Usable = %v", err)
	}
	clones := append(mirrorOf(lvmtest.Mirror), pv(lvmtest.PV1, lvmtest.Mirror))
	if err := set(t, clones...).Find("my-vg", "root").Usable(); !errors.Is(err, lvm.ErrDamaged) {
		t.Errorf("a leg on a physical volume that is there twice: Usable = %v", err)
	}
}
