package dm_test

import (
	"strings"
	"testing"

	"latchkey/unlock/dm"
)

// TestPathsTable: one path is used until it fails, there is no queueing without
// paths, and the handler is the hardware's. The kernel's words are those of
// drivers/md/dm-mpath.c; script multipath reads them back from it.
func TestPathsTable(t *testing.T) {
	p := dm.Paths{Name: "x", WWID: "x", Sectors: 8192, On: []dm.Number{{Major: 8, Minor: 16}, {Major: 65, Minor: 0}}}
	if got, want := dm.PathsTable(p), "{0 8192 multipath 0 0 2 1 service-time 0 1 1 8:16 1 service-time 0 1 1 65:0 1}"; got != want {
		t.Errorf("table %s, want %s", got, want)
	}
	p.ALUA, p.On = true, p.On[:1]
	if got, want := dm.PathsTable(p), "{0 8192 multipath 0 1 alua 1 1 service-time 0 1 1 8:16 1}"; got != want {
		t.Errorf("table %s, want %s", got, want)
	}
	if got, want := dm.PartTable(dm.Part{Number: 2, Start: 2048, Sectors: 4096}, dm.Number{Major: 253, Minor: 3}), "{0 4096 linear 253:3 2048}"; got != want {
		t.Errorf("table of a partition %s, want %s", got, want)
	}
}

// What no disk can lead to is refused before the kernel is asked.
func TestMapPathsRefuses(t *testing.T) {
	good := dm.Paths{Name: "x", WWID: "x", Sectors: 8192, On: []dm.Number{{Major: 8}}}
	for _, tt := range []struct {
		name   string
		change func(p *dm.Paths)
		want   string
	}{
		{"path for a name", func(p *dm.Paths) { p.Name = "../sda" }, "name of a mapping"},
		{"a name that is too long with its partition", func(p *dm.Paths) { p.Name, p.Part = strings.Repeat("x", 60), dm.Part{Number: 1, Sectors: 8} }, "name of a mapping"},
		{"no WWID", func(p *dm.Paths) { p.WWID = "" }, "nothing to map"},
		{"a long WWID", func(p *dm.Paths) { p.WWID = strings.Repeat("x", 123) }, "nothing to map"},
		{"no path", func(p *dm.Paths) { p.On = nil }, "nothing to map"},
		{"no size", func(p *dm.Paths) { p.Sectors = 0 }, "nothing to map"},
		{"an empty partition", func(p *dm.Paths) { p.Part = dm.Part{Number: 1} }, "nothing to map"},
		{"a partition that ends outside", func(p *dm.Paths) { p.Part = dm.Part{Number: 1, Start: 8192, Sectors: 1} }, "nothing to map"},
		{"a partition of more than there is", func(p *dm.Paths) { p.Part = dm.Part{Number: 1, Start: 1<<64 - 1, Sectors: 8193} }, "nothing to map"},
	} {
		p := good
		tt.change(&p)
		if err := dm.MapPaths(p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: MapPaths = %v, want %q", tt.name, err, tt.want)
		}
	}
}
