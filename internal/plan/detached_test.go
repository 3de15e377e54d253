package plan_test

import (
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// detached is a plan whose root has its header on a stick.
func detached() *plan.Plan {
	p := two()
	p.Volumes[0].Header, p.Volumes[0].Data = &plan.HeaderFile{Device: "LABEL=KEYS", Path: "root.hdr"}, "PARTUUID=0001"
	return p
}

func TestCheckHeader(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Volume)
		want   string // "" is accepted
	}{
		{"a stick", func(*plan.Volume) {}, ""},
		{"a partition", func(v *plan.Volume) { v.Header.Path = "" }, ""},
		{"the image", func(v *plan.Volume) { *v.Header = plan.HeaderFile{Path: "/etc/root.hdr"} }, ""},
		{"by PARTLABEL", func(v *plan.Volume) { v.Data = "PARTLABEL=payload" }, ""},
		{"a whole disk", func(v *plan.Volume) { v.Data, v.Serial = "", "disk-1" }, ""},
		{"nowhere", func(v *plan.Volume) { *v.Header = plan.HeaderFile{} }, "header: path is \"\""},
		{"a relative path in the image", func(v *plan.Volume) { *v.Header = plan.HeaderFile{Path: "root.hdr"} }, "header: path is \"root.hdr\""},
		{"no tag", func(v *plan.Volume) { v.Header.Device = "/dev/sdb1" }, "header: device is \"/dev/sdb1\""},
		{"an unknown tag", func(v *plan.Volume) { v.Header.Device = "SERIAL=x" }, "SERIAL= is not known"},
		{"an empty tag", func(v *plan.Volume) { v.Header.Device = "LABEL=" }, "names nothing"},
		{"a path out of the device", func(v *plan.Volume) { v.Header.Path = "a/../../b" }, "without ../"},
		{"a long path", func(v *plan.Volume) { v.Header.Path = strings.Repeat("a", 1025) }, "at most 1024"},
		{"a path that writes to the terminal", func(v *plan.Volume) { v.Header.Path = "a\x1bb" }, "printable"},
		{"no payload", func(v *plan.Volume) { v.Data = "" }, "data is missing"},
		{"a payload by what is in it", func(v *plan.Volume) { v.Data = "UUID=1234" }, "want PARTUUID= or PARTLABEL="},
		{"a payload by path", func(v *plan.Volume) { v.Data = "/dev/vda2" }, "want PARTUUID= or PARTLABEL="},
		{"a payload of no name", func(v *plan.Volume) { v.Data = "PARTUUID=" }, "want PARTUUID= or PARTLABEL="},
		{"a payload without a header", func(v *plan.Volume) { v.Header = nil }, "data is set"},
		{"LUKS1", func(v *plan.Volume) { v.LUKS1 = true }, "do not go together"},
	} {
		p := detached()
		tt.change(&p.Volumes[0])
		err := p.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Check = %v, want %q", tt.name, err, tt.want)
		}
	}
	if !detached().ReadsSticks() || two().ReadsSticks() {
		t.Error("ReadsSticks: want it of the plan with a header on a stick alone")
	}
}

// Options that say what the image says are no problem, and others change
// nothing.
func TestHeaderHints(t *testing.T) {
	for line, want := range map[string]string{
		"rd.luks.options=" + rootUUID + "=header=/root.hdr:LABEL=KEYS":  "",
		"rd.luks.options=" + rootUUID + "=header=/root.hdr:LABEL=OTHER": "where a header is",
		"rd.luks.options=" + rootUUID + "=header=/other.hdr:LABEL=KEYS": "where a header is",
		"rd.luks.options=header=/root.hdr:LABEL=KEYS":                   "where a header is", // of the other volume, too
		"rd.luks.data=" + rootUUID + "=PARTUUID=0001":                   "",
		"rd.luks.data=" + rootUUID + "=/dev/disk/by-partuuid/0001":      "",
		"rd.luks.data=" + rootUUID + "=/dev/disk/by-partuuid/0002":      "where a payload is",
		"rd.luks.data=" + dataUUID + "=PARTUUID=0001":                   "where a payload is",
		"rd.luks.data=9999=PARTUUID=0001":                               "no volume of the image's plan",
		"rd.luks.data=" + rootUUID:                                      "want <uuid>=<device>",
		"rd.luks.data=":                                                 "want <uuid>=<device>",
		"rd.luks.header=/root.hdr":                                      "where a header is",
	} {
		p, text := hinted(t, detached(), line)
		if (text == "") != (want == "") || !strings.Contains(text, want) {
			t.Errorf("%s: problems %q, want %q", line, text, want)
		}
		if v := p.Volumes[0]; *v.Header != *detached().Volumes[0].Header || v.Data != "PARTUUID=0001" {
			t.Errorf("%s: the command line moved the volume: %+v", line, v)
		}
	}
}
