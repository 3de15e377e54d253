package dm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"latchkey/unlock/dm"
	"latchkey/unlock/dm/control"
	"latchkey/unlock/lvm"
)

func row(start, sectors uint64, kind, params string) lvm.Row {
	return lvm.Row{Start: start, Sectors: sectors, Type: kind, Params: params}
}

// What no metadata can lead to is refused before the kernel is asked.
func TestMapLogicalRefuses(t *testing.T) {
	uuid := "LVM-" + strings.Repeat("a", 64)
	linear := []lvm.Row{row(0, 8, "linear", "253:0 2048")}
	for _, tt := range []struct {
		name string
		l    dm.Logical
		want string
	}{
		{"path for a name", dm.Logical{Name: "../sda", UUID: uuid, Rows: linear}, "name of a mapping"},
		{"UUID of a volume", dm.Logical{Name: "a", UUID: "CRYPT-LUKS2-x", Rows: linear}, "UUID of a logical volume"},
		{"a gap", dm.Logical{Name: "a", UUID: uuid, Rows: append(linear, row(9, 8, "linear", "253:0 0"))}, "cannot be mapped"},
		{"an empty row", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 0, "linear", "253:0 0")}}, "cannot be mapped"},
		{"another target", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 8, "crypt", "253:0 0")}}, "cannot be mapped"},
		{"a path", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 8, "linear", "/dev/sda 0")}}, "cannot be mapped"},
		{"a path for a leg", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 8, "raid", "raid1 3 0 region_size 8 1 /dev/sda /dev/sdb")}}, "cannot be mapped"},
		{"another level", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 8, "raid", "raid5 3 0 region_size 8 1 253:0 253:1")}}, "cannot be mapped"},
		{"words for numbers", dm.Logical{Name: "a", UUID: uuid, Rows: []lvm.Row{row(0, 8, "linear", "253:0 x")}}, "cannot be mapped"},
		{"no rows", dm.Logical{Name: "a", UUID: uuid}, "nothing to map"},
	} {
		if err := dm.MapLogical(tt.l); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: MapLogical = %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := os.Stat("/dev/mapper/control"); errors.Is(err, os.ErrNotExist) {
		if err := dm.MapLogical(dm.Logical{Name: "a", UUID: uuid, Rows: linear}); err == nil || !strings.Contains(err.Error(), "/dev/mapper/control") {
			t.Errorf("MapLogical without device-mapper = %v", err)
		}
	}
}

// Two targets follow each other as linux/dm-ioctl.h wants: next counts from
// the target that it stands in (populate_table in drivers/md/dm-ioctl.c).
func TestEncodeTargets(t *testing.T) {
	b := control.Request{Name: "vg-lv", Table: []control.Target{control.Target(row(0, 40, "linear", "253:0 2048")), control.Target(row(40, 24, "striped", "2 8 253:0 0 253:1 0"))}}.Encode()
	ne := binary.NativeEndian
	if n := ne.Uint32(b[20:]); n != 2 || len(b) != 312+56+64 || ne.Uint32(b[12:]) != uint32(len(b)) {
		t.Fatalf("%d targets in %d bytes, want 2 in %d", n, len(b), 312+56+64)
	}
	for _, f := range []struct {
		at            int
		start, length uint64
		next          uint32
		kind, params  string
	}{{312, 0, 40, 56, "linear\x00", "253:0 2048\x00"}, {368, 40, 24, 64, "striped\x00", "2 8 253:0 0 253:1 0\x00"}} {
		spec := b[f.at:]
		if ne.Uint64(spec) != f.start || ne.Uint64(spec[8:]) != f.length || ne.Uint32(spec[20:]) != f.next ||
			!bytes.HasPrefix(spec[24:], []byte(f.kind)) || !bytes.HasPrefix(spec[40:], []byte(f.params)) {
			t.Errorf("the target at %d is %q, want %+v", f.at, spec[:min(len(spec), 64)], f)
		}
	}
}
