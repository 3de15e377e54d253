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

const (
	groupID = "Ym14S2KIe22fTdY2KPxlK16KBgZJd6Ph"
	rootID  = "ZrfdLnN4Of0KrpqFr9Y80heGlzSd2fKH"
)

// set is what is on these devices, which are called one, two and so on.
func set(t testing.TB, pvs ...lvmtest.PV) *lvm.Set {
	t.Helper()
	var all []*lvm.PV
	for i, p := range pvs {
		all = append(all, read(t, p.Bytes(), [...]string{"one", "two", "three"}[i]))
	}
	return lvm.Assemble(all)
}

func read(t testing.TB, b []byte, name string) *lvm.PV {
	t.Helper()
	pv, err := lvm.Read(bytes.NewReader(b), name, int64(len(b)))
	if err != nil {
		t.Fatalf("Read of %s = %v", name, err)
	}
	return pv
}

func pv(id, text string) lvmtest.PV { return lvmtest.PV{ID: id, Text: text} }

func number(device string) string { return map[string]string{"one": "253:0", "two": "253:1"}[device] }

// The tables are those that lvm2 2.03.31 makes of this metadata; TestReal
// compares with lvm2 itself.
func TestTable(t *testing.T) {
	s := set(t, pv(lvmtest.PV0, lvmtest.Root), pv(lvmtest.PV1, lvmtest.Root))
	for _, tt := range []struct {
		name, mapping string
		readOnly      bool
		want          []lvm.Row
	}{
		{"root", "my--vg-root", false, []lvm.Row{{0, 40, "linear", "253:0 2048"}, {40, 24, "linear", "253:1 2064"}}},
		{"data", "my--vg-data", true, []lvm.Row{{0, 32, "striped", "2 4 253:0 2088 253:1 2048"}}},
	} {
		v := s.Find("my-vg", tt.name)
		if v == nil {
			t.Fatalf("Find(%q) = nil; problems %v", tt.name, s.Problems)
		}
		got, err := v.Table(number)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("Table of %s (-want +got), %v:\n%s", tt.name, err, diff)
		}
		if v.MappingName() != tt.mapping || v.ReadOnly != tt.readOnly {
			t.Errorf("%s is mapped as %q, read-only %t; want %q, %t", tt.name, v.MappingName(), v.ReadOnly, tt.mapping, tt.readOnly)
		}
		if diff := cmp.Diff([]string{"one", "two"}, v.Devices()); diff != "" || !v.On("two") || v.On("three") {
			t.Errorf("%s lies on %v", tt.name, v.Devices())
		}
	}
	if got, want := s.Find("my-vg", "root").MappingUUID(), "LVM-"+groupID+rootID; got != want {
		t.Errorf("MappingUUID = %q, want %q", got, want)
	}
	if n := len(s.Visible()); n != 2 || s.Find("my-vg", "x") != nil || s.Find("x", "root") != nil {
		t.Errorf("%d visible volumes, want 2 and no others", n)
	}
}

// Every sector of a volume is read from where its table has it.
func TestReadAt(t *testing.T) {
	disks := map[string][]byte{}
	var pvs []*lvm.PV
	for i, id := range []string{lvmtest.PV0, lvmtest.PV1} {
		b := pv(id, lvmtest.Root).Bytes()
		for at := 1 << 20; at < len(b); at += 512 {
			copy(b[at:], fmt.Sprintf("disk %d sector %d", i, at/512))
		}
		name := [...]string{"one", "two"}[i]
		disks[name] = b
		pvs = append(pvs, read(t, b, name))
	}

	s := lvm.Assemble(pvs)
	var want []byte
	want = append(want, disks["one"][2048*512:][:40*512]...)
	want = append(want, disks["two"][2064*512:][:24*512]...)
	same(t, s.Find("my-vg", "root"), want)
	want = nil
	for i := range 4 { // four stripes on each
		want = append(want, disks["one"][(2088+4*i)*512:][:4*512]...)
		want = append(want, disks["two"][(2048+4*i)*512:][:4*512]...)
	}
	same(t, s.Find("my-vg", "data"), want)
}

// same reads a volume whole, and in pieces across all borders.
func same(t *testing.T, v *lvm.Volume, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("ReadAt of %s = %d, %v, not what the table means", v, n, err)
	}
	for off := 0; off+700 < len(want); off += 300 {
		piece := got[:700]
		if _, err := v.ReadAt(piece, int64(off)); err != nil || !bytes.Equal(piece, want[off:][:700]) {
			t.Errorf("ReadAt of %s at %d, %v, is something else", v, off, err)
		}
	}
	if n, err := v.ReadAt(got[:10], int64(len(want)-4)); n != 4 || err == nil {
		t.Errorf("ReadAt over the end = %d, %v, want 4 and an error", n, err)
	}
	if n, err := v.ReadAt(got[:10], -1); n != 0 || err == nil {
		t.Errorf("ReadAt before the beginning = %d, %v", n, err)
	}
}

// Which of several states of a group counts.
func TestNewest(t *testing.T) {
	newer := strings.NewReplacer("seqno = 4", "seqno = 5", "root {", "system {").Replace(lvmtest.Root)
	differs := strings.Replace(lvmtest.Root, "root {", "system {", 1)
	torn := lvmtest.PV{ID: lvmtest.PV0, Text: newer, Second: lvmtest.Root}.Bytes()
	torn[5000] ^= 1
	for _, tt := range []struct {
		name, want string
		pvs        []lvmtest.PV
	}{
		{"one and the same", "root", []lvmtest.PV{pv(lvmtest.PV0, lvmtest.Root), pv(lvmtest.PV1, lvmtest.Root)}},
		{"newer first", "system", []lvmtest.PV{pv(lvmtest.PV0, newer), pv(lvmtest.PV1, lvmtest.Root)}},
		{"newer last", "system", []lvmtest.PV{pv(lvmtest.PV0, lvmtest.Root), pv(lvmtest.PV1, newer)}},
		{"none on one", "root", []lvmtest.PV{pv(lvmtest.PV0, ""), pv(lvmtest.PV1, lvmtest.Root)}},
		{"ignored on one", "root", []lvmtest.PV{{ID: lvmtest.PV0, Text: newer, Ignored: true}, pv(lvmtest.PV1, lvmtest.Root)}},
		{"newer in the second area", "system", []lvmtest.PV{{ID: lvmtest.PV0, Text: lvmtest.Root, Second: newer}, pv(lvmtest.PV1, lvmtest.Root)}},
		{"around the end of the area", "root", []lvmtest.PV{{ID: lvmtest.PV0, Text: lvmtest.Root, TextAt: 64<<10 - 700}, pv(lvmtest.PV1, "")}},
	} {
		s := set(t, tt.pvs...)
		v := s.Find("my-vg", tt.want)
		if v == nil || v.Usable() != nil || len(s.Groups) != 1 || len(s.Problems) != 0 {
			t.Errorf("%s: volume %s = %v in %d groups, problems %v", tt.name, tt.want, v, len(s.Groups), s.Problems)
		}
	}

	s := lvm.Assemble([]*lvm.PV{read(t, torn, "one"), read(t, pv(lvmtest.PV1, "").Bytes(), "two")})
	if v := s.Find("my-vg", "root"); v == nil || v.Usable() != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Error(), "the metadata area at byte 4096 of one: the checksum of its text is wrong") {
		t.Errorf("a torn first area: %v, problems %v, want the second one's metadata", v, s.Problems)
	}
	s = set(t, pv(lvmtest.PV0, lvmtest.Root), pv(lvmtest.PV1, differs))
	if err := s.Find("my-vg", "root").Usable(); err == nil || !strings.Contains(err.Error(), "different metadata, both number 4") {
		t.Errorf("two states with one number: Usable = %v", err)
	}
}

// A group and a volume may have names that a mapping cannot have.
func TestLongName(t *testing.T) {
	for _, group := range []string{strings.Repeat("g", 59), ".vg"} {
		text := strings.Replace(lvmtest.Root, "my-vg", group, 1)
		v := set(t, pv(lvmtest.PV0, text), pv(lvmtest.PV1, text)).Find(group, "root")
		if v == nil {
			t.Fatalf("there is no %s/root", group)
		}
		if err := v.Usable(); !errors.Is(err, lvm.ErrUnsupported) || !strings.Contains(err.Error(), "a mapping cannot have the name "+group+"-root") {
			t.Errorf("%s/root: Usable = %v", group, err)
		}
	}
}

// What a volume lacks is named, in one line.
func TestUsable(t *testing.T) {
	whole := []lvmtest.PV{pv(lvmtest.PV0, lvmtest.Root), pv(lvmtest.PV1, lvmtest.Root)}
	with := func(old, new string) []lvmtest.PV {
		text := strings.Replace(lvmtest.Root, old, new, 1)
		if text == lvmtest.Root {
			t.Fatalf("the metadata has no %q", old)
		}
		return []lvmtest.PV{pv(lvmtest.PV0, text), pv(lvmtest.PV1, text)}
	}
	snapshot := `snapshot0 { id = "snapsh-ot00-aaaa-bbbb-cccc-dddd-eeeeee" status = ["READ"] segment_count = 1
		segment1 { start_extent = 0 extent_count = 8 type = "snapshot" chunk_size = 8 origin = "root" cow_store = "data" } }
		root {`
	other := strings.NewReplacer("Ym14S2", "ZZ14S2", "segment2", "segment2").Replace(lvmtest.Root)
	for _, tt := range []struct {
		name string
		pvs  []lvmtest.PV
		kind error
		want string
	}{
		{"whole", whole, nil, ""},
		{"one is missing", whole[:1], lvm.ErrMissing, "logical volume my-vg/root: its physical volume " + lvmtest.PV1 + ` is in none of the opened volumes (it was on "/dev/mapper/two")`},
		{"twice", append(whole, pv(lvmtest.PV1, lvmtest.Root)), lvm.ErrDamaged, "2 opened volumes carry its physical volume " + lvmtest.PV1 + ": two, three"},
		{"was missing", with(`"/dev/mapper/two"
			status = ["ALLOCATABLE"]
			flags = []`, `"/dev/mapper/two"
			status = ["ALLOCATABLE"]
			flags = ["MISSING"]`), lvm.ErrMissing, "in two was missing when the group was changed last"},
		{"too small", with("pe_count = 16", "pe_count = 1600"), lvm.ErrDamaged, "in one needs 7602176 bytes, and there are 2097152"},
		{"thin", with(`type = "striped"`, `type = "thin"`), lvm.ErrUnsupported, `it is of type "thin": that needs lvm2 itself`},
		{"raid", with(`type = "striped"`, `type = "raid5"`), lvm.ErrUnsupported, `it is of type "raid5"`},
		{"with flags", with(`type = "striped"`, `type = "striped+FUTURE"`), lvm.ErrUnsupported, `it is of type "striped+FUTURE"`},
		{"being moved", with(`"pv1", 2`, `"pvmove0", 2`), lvm.ErrUnsupported, `it lies on the logical volume "pvmove0"`},
		{"on itself", with(`"pv1", 2`, `"root", 0`), lvm.ErrUnsupported, `it lies on the logical volume "root"`},
		{"origin of a snapshot", with("root {", snapshot), lvm.ErrUnsupported, `snapshot0, of type "snapshot", uses it`},
		{"hidden", with(`"READ", "WRITE", "VISIBLE"]`, `"READ", "WRITE"]`), lvm.ErrUnsupported, "it is a part of another one"},
		{"exported", with(`"RESIZEABLE",`, `"RESIZEABLE", "EXPORTED",`), lvm.ErrUnsupported, "the group is exported"},
		{"shared", with(`format = "lvm2"`, `lock_type = "sanlock"`), lvm.ErrUnsupported, "shared between machines"},
		{"no segment", with("segment_count = 2", "segment_count = 0"), lvm.ErrUnsupported, "it has no segment"},
		{"two groups of one name", []lvmtest.PV{{ID: lvmtest.PV0, Text: lvmtest.Root, Second: other}, whole[1]}, lvm.ErrNames, "two volume groups have the name my-vg"},
	} {
		v := set(t, tt.pvs...).Find("my-vg", "root")
		if v == nil {
			t.Errorf("%s: there is no my-vg/root", tt.name)
			continue
		}
		err := v.Usable()
		if !errors.Is(err, tt.kind) || tt.kind != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: Usable = %v, want %q", tt.name, err, tt.want)
		}
		if rows, e := v.Table(number); e != nil && err == nil || e == nil && err != nil {
			t.Errorf("%s: Table = %v, %v, and Usable = %v", tt.name, rows, e, err)
		}
		if _, e := v.ReadAt(make([]byte, 1), 0); (e == nil) != (err == nil) {
			t.Errorf("%s: ReadAt = %v, and Usable = %v", tt.name, e, err)
		}
	}
}
