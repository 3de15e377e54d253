package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"latchkey/unlock/lvm"
	"latchkey/unlock/lvm/lvmtest"
)

// Metadata that breaks a rule ends in one line that says which.
func TestRefusedMetadata(t *testing.T) {
	many := func(n int, entry string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, entry+"\n", i)
		}
		return b.String()
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"area beyond the volume", `"pv1", 2`, `"pv1", 9`, `3 extents from 9 on reach outside of "pv1", which has 11`},
		{"area before it", `"pv1", 2`, `"pv1", -1`, "reach outside"},
		{"area at the largest number", `"pv1", 2`, `"pv1", 9223372036854775807`, "reach outside"},
		{"area beyond all numbers", `"pv1", 2`, `"pv1", 9223372036854775808`, "pairs of a name and an extent"},
		{"name for an extent", `"pv1", 2`, `"pv1", "pv0"`, "pairs of a name and an extent"},
		{"odd list", `"pv1", 2`, `"pv1"`, "3 extents in 1 stripes, of which 0 are named"},
		{"two segments in one place", `"pv1", 2`, `"pv0", 3`, `root and root overlap in extent 3 of "pv0"`},
		{"two areas at one extent", `"pv1", 2`, `"pv0", 0`, `root and root overlap in extent 0 of "pv0"`},
		{"two volumes in one place", `"pv1", 2`, `"pv1", 1`, `data and root overlap in extent 1 of "pv1"`},
		{"extents of 0", "extent_size = 8", "extent_size = 0", "extent_size is 0, want 1 to"},
		{"extents below 0", "extent_size = 8", "extent_size = -8", "extent_size is -8"},
		{"sizes that overflow", "extent_size = 8", "extent_size = 9223372036854775807", "extent_size is 9223372036854775807"},
		{"product that overflows", "pe_count = 11", "pe_count = 2305843009213693952", "pe_count is 2305843009213693952"},
		{"segment that overflows", "extent_count = 3", "extent_count = 9223372036854775807", "extent_count is"},
		{"start that overflows", "pe_start = 2048", "pe_start = 9223372036854775807", "pe_start is"},
		{"no extents", "extent_count = 3", "extent_count = 0", "extent_count is 0"},
		{"extents that are no number", "extent_count = 3", `extent_count = "3"`, "extent_count is no number"},
		{"extents in a list", "extent_count = 3", "extent_count = [3, 3]", "extent_count is no number"},
		{"gap between segments", "start_extent = 5", "start_extent = 6", "it begins at extent 6, want 5"},
		{"segments in each other", "start_extent = 5", "start_extent = 4", "it begins at extent 4, want 5"},
		{"missing segment", "segment_count = 2", "segment_count = 3", "there is no segment3"},
		{"segments without end", "segment_count = 2", "segment_count = 1000000000000", "segment_count is 1000000000000"},
		{"stripes that do not fit", "extent_count = 4", "extent_count = 3", "3 extents in 2 stripes"},
		{"too many stripes", "stripe_count = 2", "stripe_count = 129", "stripe_count is 129, want 1 to 128"},
		{"no stripes", "stripe_count = 2", "stripe_count = 0", "stripe_count is 0"},
		{"stripe that does not fit", "stripe_size = 4", "stripe_size = 3", "stripes of 3 sectors in extents of 8"},
		{"stripe of 0", "stripe_size = 4", "stripe_size = 0", "stripe_size is 0"},
		{"slash in a name", "root {", "../root {", `"../root" cannot be the name of a logical volume`},
		{"dots for a name", "root {", ".. {", `".." cannot be the name of a logical volume`},
		{"dash before a name", "root {", "-root {", `"-root" cannot be`},
		{"name of 128 bytes", "root {", strings.Repeat("r", 128) + " {", "cannot be the name of a logical volume"},
		{"slash in the group's name", "my-vg {", "my/vg {", `"my/vg" cannot be the name of a volume group`},
		{"control byte in a name", "root {", "ro\x7fot {", `"ro\x7fot" cannot be`},
		{"no id", `id = "ZrfdLn-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH"`, "", "logical volume root has no id of its own"},
		{"id of another", `id = "ZrfdLn-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH"`, `id = "9fLzQw-28ll-giFS-fl9y-yzrA-ODQl-g6sB3j"`, "logical volume data has no id of its own"},
		{"id with a slash", "Ym14S2-", "Ym/4S2-", "it has no id"},
		{"short id", "Ym14S2-", "", "it has no id"},
		{"physical volume without an id", lvmtest.PV1, "x", `"pv1" has no id`},
		{"physical volume twice", lvmtest.PV1, lvmtest.PV0, "stands twice"},
		{"no physical volume", "physical_volumes {", "physical_volumes { } other {", "want 1 to 1024 physical volumes"},
		{"no number", "seqno = 4", "", "seqno is no number"},
		{"name twice", "data {", "root {", `"root" stands twice`},
		{"value twice", "seqno = 4", "seqno = 4 seqno = 5", `"seqno" stands twice`},
		{"100,000 logical volumes", "root {", many(100_000, "v%d { }") + "root {", "more than 100000 values"},
		{"20,000 logical volumes", "root {", many(20_000, "v%d { }") + "root {", "it has 20002 logical volumes, the limit is 10000"},
		{"sections without end", "root {", strings.Repeat("a {", 50) + "root {", "more than 8 sections in each other"},
		{"section that does not end", "contents =", "{ contents =", "want a name"},
		{"list that does not end", `"pv1", 2 ]`, `"pv1", 2 `, "want a value"},
		{"list without end", `"pv1", 2 ]`, strings.Repeat("1,", 100_001) + "]", "more than 100000 values"},
		{"string that does not end", `creation_host = "a `, `creation_host = "a \`, "want { or = behind"},
		{"long string", `creation_host = "a `, `creation_host = "` + strings.Repeat("a", 5000), "a string does not end after 4097 bytes"},
		{"no value", "seqno = 4", "seqno = }", "want a value"},
		{"no sign", "seqno = 4", "seqno 4", `want { or = behind "seqno"`},
		{"two groups", "contents =", "other { } contents =", "it is not the metadata of a volume group"},
		{"something else", "Text Format Volume Group", "Text Format Backup", "it is not the metadata"},
		{"a later version", "version = 1", "version = 2", "version is 2, want 1 to 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(lvmtest.Root, tt.old, tt.new, 1)
			if text == lvmtest.Root {
				t.Fatalf("the metadata has no %q", tt.old)
			}
			s := lvm.Assemble([]*lvm.PV{readText(t, text)})
			if len(s.Groups) != 0 || len(s.Problems) != 1 {
				t.Fatalf("%d groups and problems %v, want one problem", len(s.Groups), s.Problems)
			}
			line := s.Problems[0].Error()
			if !errors.Is(s.Problems[0], lvm.ErrDamaged) || !strings.Contains(line, tt.want) || strings.Contains(line, "\n") || len(line) > 400 {
				t.Errorf("the problem is %q, want %q", line, tt.want)
			}
		})
	}
}

// readText is a physical volume whose area is as large as the text wants.
func readText(t *testing.T, text string) *lvm.PV {
	t.Helper()
	b := lvmtest.PV{ID: lvmtest.PV0, Text: "x"}.Bytes()
	h := append(b[:4096], make([]byte, 8<<20)...)
	area := h[4096:]
	copy(area, b[4096:][:512])
	copy(area[512:], text)
	le.PutUint64(area[32:], uint64(len(area)))
	le.PutUint64(area[48:], uint64(len(text)))
	lvmtest.Seal(area[56:], []byte(text))
	lvmtest.Seal(area, area[4:512])
	le.PutUint64(h[512+112:], uint64(len(area)))
	lvmtest.Seal(h[512+16:], h[512+20:1024])
	return read(t, h, "one")
}

// Where the label may be, and what makes it none.
func TestLabel(t *testing.T) {
	for sector := range 4 {
		p := lvmtest.PV{ID: lvmtest.PV0, Text: lvmtest.Root, Sector: sector}
		b := p.Bytes()
		if got, err := lvm.Read(bytes.NewReader(b), "one", int64(len(b))); err != nil || got.ID.String() != lvmtest.PV0 {
			t.Errorf("label in sector %d: Read = %v, %v", sector, got, err)
		}
	}

	for _, tt := range []struct {
		name   string
		change func([]byte)
		seal   bool
		kind   error
	}{
		{"in the fifth sector", func(b []byte) { copy(b[2048:], b[512:1024]); clear(b[512:1024]) }, false, lvm.ErrNone},
		{"of another type", func(b []byte) { b[512+28]++ }, false, lvm.ErrNone},
		{"of another sector", func(b []byte) { b[512+8]++ }, false, lvm.ErrDamaged},
		{"wrong checksum", func(b []byte) { b[1000]++ }, false, lvm.ErrDamaged},
		{"content beyond the sector", func(b []byte) { b[512+20], b[512+21] = 0xe0, 1; copy(b[1024-32:], b[512+32:512+64]) }, true, lvm.ErrDamaged},
		{"content in the label", func(b []byte) { b[512+20] = 8 }, true, lvm.ErrDamaged},
		{"no UUID", func(b []byte) { b[512+40] = '/' }, true, lvm.ErrDamaged},
		{"empty", func(b []byte) { clear(b) }, false, lvm.ErrNone},
	} {
		b := pv(lvmtest.PV0, lvmtest.Root).Bytes()
		tt.change(b)
		if tt.seal {
			lvmtest.Seal(b[512+16:], b[512+20:1024])
		}
		if got, err := lvm.Read(bytes.NewReader(b), "one", int64(len(b))); !errors.Is(err, tt.kind) || !strings.HasPrefix(err.Error(), "one: ") {
			t.Errorf("%s: Read = %v, %v, want %v", tt.name, got, err, tt.kind)
		}
	}
	if _, err := lvm.Read(bytes.NewReader(make([]byte, 100)), "one", 100); !errors.Is(err, lvm.ErrNone) {
		t.Errorf("100 bytes: Read = %v, want %v", err, lvm.ErrNone)
	}
}

// What is wrong with a metadata area is said, and nothing of it used.
func TestArea(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(area []byte)
		seal   bool
		want   string // "" is no problem, and no group
	}{
		{"no header", func(a []byte) { a[4]++ }, true, "its header is not one"},
		{"checksum of the header", func(a []byte) { a[500]++ }, false, "the checksum of its header"},
		{"version", func(a []byte) { a[20]++ }, true, "it has version 2"},
		{"another area's header", func(a []byte) { a[25]++ }, true, "that of another one"},
		{"another area's size", func(a []byte) { a[34]++ }, true, "that of another one"},
		{"text in the header", func(a []byte) { a[41] = 1 }, true, "its text has"},
		{"text behind the area", func(a []byte) { a[43] = 1 }, true, "its text has"},
		{"text larger than the area", func(a []byte) { a[50] = 1 }, true, "its text has"},
		{"text of 2^63 bytes", func(a []byte) { a[55] = 0x80 }, true, "its text has"},
		{"text of no bytes", func(a []byte) { clear(a[48:56]) }, true, "its text has 0 bytes"},
		{"checksum of the text", func(a []byte) { a[56]++ }, true, "the checksum of its text"},
		{"no text", func(a []byte) { clear(a[40:64]) }, true, ""},
		{"precommitted only", func(a []byte) { copy(a[64:88], a[40:64]); clear(a[40:64]) }, true, ""},
	} {
		b := pv(lvmtest.PV0, lvmtest.Root).Bytes()
		area := b[4096:]
		tt.change(area)
		if tt.seal {
			lvmtest.Seal(area, area[4:512])
		}
		s := lvm.Assemble([]*lvm.PV{read(t, b, "one")})
		text := fmt.Sprint(s.Problems)
		if len(s.Groups) != 0 || (tt.want == "") != (len(s.Problems) == 0) || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d groups, problems %v, want %q", tt.name, len(s.Groups), s.Problems, tt.want)
		}
	}
}

// A label whose lists of areas lead nowhere is one without metadata.
func TestAreasWithoutEnd(t *testing.T) {
	b := pv(lvmtest.PV0, lvmtest.Root).Bytes()
	for i := 512 + 72; i < 1024; i++ {
		b[i] = 1
	}
	lvmtest.Seal(b[512+16:], b[512+20:1024])
	if s := lvm.Assemble([]*lvm.PV{read(t, b, "one")}); len(s.Groups) != 0 {
		t.Errorf("%d groups, want none", len(s.Groups))
	}
}
