package lvm_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"latchkey/unlock/lvm"
	"latchkey/unlock/lvm/lvmtest"
)

var le = binary.LittleEndian

// Whatever the label and the areas hold, reading ends, and no row leaves
// the device.
func FuzzRead(f *testing.F) {
	f.Add(pv(lvmtest.PV0, lvmtest.Root).Bytes()[:12<<10])
	f.Add(lvmtest.PV{ID: lvmtest.PV1, Text: lvmtest.Root, Sector: 3}.Bytes()[:12<<10])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1024 { // else no fuzzer gets past the checksums
			lvmtest.Seal(b[512+16:], b[512+20:1024])
		}
		if len(b) > 8192 {
			lvmtest.Seal(b[4096:], b[4100:4608])
		}
		pv, err := lvm.Read(bytes.NewReader(b), "one", 2<<20)
		if err == nil {
			check(t, lvm.Assemble([]*lvm.PV{pv}))
		}
	})
}

// Whatever the metadata says, no row leaves the device, and no problem has
// two lines.
func FuzzMetadata(f *testing.F) {
	f.Add(lvmtest.Root)
	f.Add(strings.ReplaceAll(lvmtest.Root, "striped", "raid1"))
	f.Add(lvmtest.Mirror)
	f.Add(strings.ReplaceAll(lvmtest.Mirror, `"root_rimage_1"`, `"root"`))
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || len(text) > 60<<10 {
			return
		}
		check(t, set(t, pv(lvmtest.PV0, text), pv(lvmtest.PV1, text)))
	})
}

func check(t *testing.T, s *lvm.Set) {
	t.Helper()
	for _, p := range s.Problems {
		if strings.Contains(p.Error(), "\n") {
			t.Errorf("the problem %q has several lines", p)
		}
	}
	for _, v := range s.Visible() {
		if strings.ContainsAny(v.MappingName()+v.MappingUUID(), "/ \n\x00") {
			t.Errorf("volume %q has the UUID %q", v.MappingName(), v.MappingUUID())
		}
		rows, err := v.Table(number)
		if err != nil {
			continue
		}
		if strings.Contains(v.Lacks(), "\n") || v.Usable() == nil && len(v.Devices()) == 0 {
			t.Errorf("%s lies on %v and lacks %q", v, v.Devices(), v.Lacks())
		}
		for _, p := range v.Parts() {
			if _, err := p.Table(number); err != nil || p.Parts() != nil {
				t.Errorf("%s is a part of %s and cannot be mapped: %v", p, v, err)
			}
		}
		at := uint64(0)
		for _, r := range rows {
			if r.Start != at || r.Sectors == 0 || r.Sectors > 4096 || strings.Contains(r.Params, "\n") {
				t.Errorf("row %+v of %s, want one that begins at %d", r, v, at)
			}
			at += r.Sectors
		}
		if n, err := v.ReadAt(make([]byte, at*512), 0); err != nil && uint64(n) > at*512 {
			t.Errorf("ReadAt of %s = %d, %v", v, n, err)
		}
	}
}
