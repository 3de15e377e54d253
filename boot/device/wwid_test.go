package device_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/device"
)

// des is one designator of page 0x83.
func des(association, kind byte, id string) string {
	return string([]byte{1, association<<4 | kind, 0, byte(len(id))}) + id
}

func page(all ...string) string {
	list := strings.Join(all, "")
	return string([]byte{0, 0x83, byte(len(list) >> 8), byte(len(list))}) + list
}

const (
	naa6 = "\x60\x01\x40\x5c\x0f\xfe\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	naa5 = "\x50\x00\xc5\x00\x12\x34\x56\x78"
	eui  = "\x00\x25\x38\x5a\x11\x22\x33\x44"
)

// TestWWID: what a disk is known by, as multipathd writes it, from what the
// kernel has of it.
func TestWWID(t *testing.T) {
	nguid := strings.Repeat("1", 32)
	for _, tt := range []struct {
		name       string
		pg83, wwid string // files
		want       string
	}{
		{"NAA, extended", page(des(0, 3, naa6)), "naa.x", "36001405c0ffee0000000000000000001"},
		{"NAA", page(des(0, 3, naa5)), "", "35000c50012345678"},
		{"the longer NAA is first", page(des(0, 3, naa5), des(0, 3, naa6)), "", "36001405c0ffee0000000000000000001"},
		{"the port's name is not the unit's", page(des(1, 3, naa5), des(0, 1, "ATA     MODEL   SERIAL 1  ")), "", "1ATA_MODEL_SERIAL_1"},
		{"the target's name is not the unit's", page(des(2, 3, naa5)), "", ""},
		{"locally assigned", page(des(0, 3, "\x30\x00\xc5\x00\x12\x34\x56\x78")), "", ""},
		{"NAA of a wrong size", page(des(0, 3, naa6[:8])), "", ""},
		{"EUI-64", page(des(0, 2, eui)), "", "20025385a11223344"},
		{"EUI-64 of zeros", page(des(0, 2, strings.Repeat("\x00", 8))), "", ""},
		{"EUI-64 of a wrong size", page(des(0, 2, eui[:7])), "", ""},
		{"EUI-64 before a SCSI name", page(des(0, 8, "iqn.2003-01.org:x\x00\x00"), des(0, 2, eui)), "", "20025385a11223344"},
		{"a SCSI name", page(des(0, 8, "iqn.2003-01.org:x,t,0x1\x00\x00")), "", "82003-01.org:x,t,0x1"},
		{"a SCSI name that is a NAA", page(des(0, 8, "naa.5000C50012345678\x00\x00\x00\x00")), "", "35000c50012345678"},
		{"a SCSI name that is an EUI", page(des(0, 8, "eui.0025385A11223344")), "", "20025385a11223344"},
		{"another name", page(des(0, 8, "abc.x")), "", ""},
		{"the vendor alone", page(des(0, 1, "ATA     ")), "", ""},
		{"a vendor's own", page(des(0, 0, "disk1")), "", ""},
		{"a group", page(des(0, 6, "\x00\x00\x00\x01")), "", ""},
		{"no character that names cannot have", page(des(0, 1, "QEMU    a/../b")), "", ""},
		{"cut off", page(des(0, 3, naa6))[:12], "", ""},
		{"cut off in the head", page(des(0, 3, naa6))[:7], "", ""},
		{"empty", "", "", ""},
		{"too long", page(des(0, 1, "QEMU    "+strings.Repeat("x", 110))), "", ""},
		{"NVMe, NGUID", "", "eui." + nguid + "\n", "eui." + nguid},
		{"NVMe, UUID", "", "uuid.01234567-89ab-cdef-0123-456789abcdef\n", "uuid.01234567-89ab-cdef-0123-456789abcdef"},
		{"NVMe, zeros", "", "eui." + strings.Repeat("0", 32) + "\n", ""},
		{"NVMe, no identity", "", "uuid.00000000-0000-0000-0000-000000000000\n", ""},
	} {
		sys := t.TempDir()
		errs := []error{os.MkdirAll(filepath.Join(sys, "class/block/sda/device"), 0o755)}
		for file, text := range map[string]string{"uevent": "MAJOR=8\nMINOR=0\nDEVNAME=sda\n", "size": "8192\n", "device/vpd_pg83": tt.pg83, "wwid": tt.wwid} {
			if text != "" {
				errs = append(errs, os.WriteFile(filepath.Join(sys, "class/block/sda", file), []byte(text), 0o644))
			}
		}
		blocks, err := device.Blocks(sys)
		if err := errors.Join(append(errs, err)...); err != nil || len(blocks) != 1 {
			t.Fatal(err, blocks)
		}
		if got := blocks[0].WWID; got != tt.want {
			t.Errorf("%s: WWID = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzWWID: no page ends in a panic, or in what cannot stand in a name.
func FuzzWWID(f *testing.F) {
	f.Add([]byte(page(des(0, 3, naa6), des(1, 3, naa5), des(0, 8, "naa.5000C50012345678"), des(0, 1, "ATA     x  y"))))
	f.Add([]byte{0, 0x83, 0xff, 0xff, 1, 3})
	sys := f.TempDir()
	dir := filepath.Join(sys, "class/block/sda/device")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	for file, text := range map[string]string{"uevent": "MAJOR=8\nMINOR=0\nDEVNAME=sda\n", "size": "8192\n"} {
		if err := os.WriteFile(filepath.Join(dir, "..", file), []byte(text), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "vpd_pg83"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		blocks, err := device.Blocks(sys)
		if err != nil || len(blocks) != 1 || strings.ContainsAny(blocks[0].WWID, " /\n\x00\x7f") || len(blocks[0].WWID) > 112 {
			t.Errorf("Blocks = %+v, %v", blocks, err)
		}
	})
}

// TestPort: whether ports have states, and which is the best.
func TestPort(t *testing.T) {
	for _, tt := range []struct {
		name, inquiry, state string
		alua                 bool
		rank                 int
	}{
		{"no states", "\x00\x00\x06\x02\x1f\x00\x10\x02", "", false, 0},
		{"nobody knows", "\x00\x00\x06\x02\x1f\x10\x10\x02", "", true, 0},
		{"explicit", "\x00\x00\x06\x02\x1f\x20\x10\x02", "active/optimized\n", true, 0},
		{"works", "\x00\x00\x06\x02\x1f\x30\x10\x02", "active/non-optimized\n", true, 1},
		{"waits", "\x00\x00\x06\x02\x1f\x30\x10\x02", "standby\n", true, 2},
		{"short", "\x00\x00\x06", "", false, 0},
	} {
		sys := t.TempDir()
		errs := []error{os.MkdirAll(filepath.Join(sys, "class/block/sda/device"), 0o755)}
		for file, text := range map[string]string{"uevent": "MAJOR=8\nMINOR=0\nDEVNAME=sda\n", "size": "8192\n", "device/inquiry": tt.inquiry, "device/access_state": tt.state} {
			if text != "" {
				errs = append(errs, os.WriteFile(filepath.Join(sys, "class/block/sda", file), []byte(text), 0o644))
			}
		}
		blocks, err := device.Blocks(sys)
		if err := errors.Join(append(errs, err)...); err != nil || len(blocks) != 1 {
			t.Fatal(err, blocks)
		}
		if b := blocks[0]; b.ALUA != tt.alua || b.Rank != tt.rank {
			t.Errorf("%s: ALUA %t, rank %d, want %t and %d", tt.name, b.ALUA, b.Rank, tt.alua, tt.rank)
		}
	}
}
