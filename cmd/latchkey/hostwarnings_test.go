package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// A machine whose root is a logical volume is told what its plan lacks.
func TestLogicalWarnings(t *testing.T) {
	const one, two = "5ca1ab1e-0000-4000-8000-00000000d150", "5ca1ab1e-0000-4000-8000-00000000d151"
	host := func(stacked bool, uuids ...string) *hosttab.LogicalRoot {
		return &hosttab.LogicalRoot{Group: "debian-vg", Name: "root", Volumes: uuids, Stacked: stacked}
	}
	for _, tt := range []struct {
		name, root string
		host       *hosttab.LogicalRoot
		want       string // of the warnings and the error; "" is none
	}{
		{"no LVM here", "", nil, ""},
		{"another machine's plan", "", host(true, two), ""},
		{"by mapping", "/dev/mapper/debian--vg-root", host(false, one), ""},
		{"by path", "/dev/debian-vg/root", host(false, one), ""},
		{"by UUID", "UUID=x", host(false, one), ""},
		{"by udev's link", "/dev/disk/by-label/x", host(false, one), ""},
		{"not named", "", host(false, one), "write root: {device: /dev/mapper/debian--vg-root} in latchkey.yaml"},
		{"the volume is named", "/dev/mapper/root", host(false, one), "write root: {device: /dev/mapper/debian--vg-root}"},
		{"another one is named", "/dev/debian-vg/other", host(true, one), "the plan's root is the logical volume debian-vg/other, this machine's is debian-vg/root"},
		{"on another volume, too", "/dev/debian-vg/root", host(false, one, two), "lies on LUKS volume " + two + ", too, which the plan does not open"},
		{"a RAID", "UUID=x", &hosttab.LogicalRoot{Group: "debian-vg", Name: "root", Volumes: []string{one}, RAID: true}, "debian-vg/root is a RAID of LVM: the boot maps raid1 and no other level"},
		{"of another kind", "/dev/debian-vg/root", host(true, one), "error: this machine's root debian-vg/root lies on other logical volumes (thin,"},
		{"of another kind, by UUID", "UUID=x", host(true, one), "error: this machine's root"},
	} {
		p := &plan.Plan{Volumes: []plan.Volume{{UUID: one, Name: "root"}}, Root: plan.Root{Device: tt.root}}
		list, err := logicalWarnings(p, tt.host)
		text := strings.Join(list, "\n")
		if err != nil {
			text += "error: " + err.Error()
		}
		if !strings.Contains(text, tt.want) || (text == "") != (tt.want == "") {
			t.Errorf("%s: logicalWarnings = %q, want %q", tt.name, text, tt.want)
		}
	}
}

// An image whose boot would write to what crypttab has read-only is not built;
// the rest is a warning.
func TestCrypttabOfThisMachine(t *testing.T) {
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		options, err, warning string
		planned               []string
	}{
		{"luks", "", "", nil},
		{"read-only", "options: [read-only]", "", nil},
		{"read-only", "", "", []string{"read-only"}},
		{"discard", "", "options: [discard]", nil},
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/crypttab"), []byte("root UUID="+uuid+" none "+tt.options+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := judgeCrypttab(&out, hosttab.Host{Root: root}, &plan.Plan{Volumes: []plan.Volume{{UUID: uuid, Name: "root", Options: tt.planned}}})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: judgeCrypttab = %v, want %q", tt.options, err, tt.err)
		}
		if got := out.String(); !strings.Contains(got, tt.warning) || (got == "") != (tt.warning == "") {
			t.Errorf("%s: says %q, want %q", tt.options, got, tt.warning)
		}
	}
}

// TestHostMounts: both names of a logical volume are its mapping's.
func TestHostMounts(t *testing.T) {
	for _, device := range []string{"/dev/mapper/debian--vg-root", "/dev/debian-vg/root"} {
		p := &plan.Plan{Volumes: []plan.Volume{{Name: "sda3_crypt"}}, Root: plan.Root{Device: device}}
		if got := hostMounts(p).Root; got != "/dev/mapper/debian--vg-root" {
			t.Errorf("hostMounts of %s: root %q", device, got)
		}
	}
}
