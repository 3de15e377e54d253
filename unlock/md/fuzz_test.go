package md_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"latchkey/unlock/md"
	"latchkey/unlock/md/mdtest"
)

// Whatever the superblocks hold, reading ends, places are in the array, and
// what people read is one line.
func FuzzRead(f *testing.F) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		b := mdtest.Member{Version: version, Name: "till:root", Level: 10, Layout: 0x102, Places: 4}.Device()
		at := mdtest.Offset(version, len(b))
		f.Add(b[at:at+4096], version)
	}
	f.Fuzz(func(t *testing.T, super []byte, version string) {
		b := make([]byte, 192<<10)
		at := mdtest.Offset(version, len(b))
		copy(b[at:at+4096], super)
		if version == "0.90" { // else no fuzzer gets past the checksums
			mdtest.Seal0(b[at:])
		} else {
			mdtest.Seal1(b[at:])
		}
		m, err := md.Read(bytes.NewReader(b), "vda", int64(len(b)))
		if err != nil {
			if !errors.Is(err, md.ErrNone) && !errors.Is(err, md.ErrDamaged) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Read = %q", err)
			}
			return
		}
		if m.Places < 1 || m.Place >= m.Places || m.Bytes > int64(len(b)) {
			t.Errorf("Read = %+v", m)
		}
		for _, a := range md.Arrays([]*md.Member{m}) {
			lines := []string{a.Degraded(), a.String()}
			if err := a.Enough(); err != nil {
				lines = append(lines, err.Error())
			}
			if a.Problem != nil {
				lines = append(lines, a.Problem.Error())
			}
			for _, line := range append(lines, a.LeftOut()...) {
				if strings.ContainsAny(line, "\n\x1b\x00") {
					t.Errorf("the line %q is none", line)
				}
			}
			if n := a.Number(); n < -1 || n > 511 {
				t.Errorf("Number = %d", n)
			}
		}
	})
}
