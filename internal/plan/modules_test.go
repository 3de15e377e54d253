package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
)

func testModules() *plan.Modules {
	return &plan.Modules{
		List: []plan.Module{{Path: "/lib/virtio_ring.ko"}, {Path: "/lib/virtio-net.ko", Deps: []int{0}, Params: "a=1 b=\"c d\""}, {Path: "/lib/xts.ko", Soft: []int{0, 1}, Part: plan.Part{Block: 0, Offset: 200, Size: 100}}},
		Aliases: []plan.Alias{
			{Pattern: "virtio:d00000001v*", Module: 1}, {Pattern: "pci:v*d*sv*sd*bc01sc06i01*", Module: 2}, {Pattern: "usb:v[0-9]*", Module: 2},
		},
		Blocks: []plan.Block{{File: "/lib/seldom-00.lzma", Size: 300, Sum: [32]byte{1, 2}}, {File: "/lib/seldom-01.lzma", Size: 7}},
	}
}

func TestModulesRoundTrip(t *testing.T) {
	got, err := plan.DecodeModules(testModules().Encode())
	if diff := cmp.Diff(testModules(), got); err != nil || diff != "" {
		t.Errorf("DecodeModules(Encode) (-want +got), %v:\n%s", err, diff)
	}
}

func TestDecodeModulesRefuses(t *testing.T) {
	sum := strings.Repeat("00", 32)
	for _, tt := range []struct{ name, file string }{
		{"depends on itself", "m /a.ko 0 -\n"},
		{"depends on a later one", "m /a.ko 1 -\nm /b.ko - -\n"},
		{"soft circle", "m /a.ko - 1\nm /b.ko 0 -\n"},
		{"alias of none", "a 0 pci:*\n"},
		{"negative", "m /a.ko - -\na -1 x\n"},
		{"no number", "m /a.ko x -\n"},
		{"unknown line", "x\n"},
		{"parameters of none", "p 0 a=1\n"},
		{"in no block", "m /a.ko - -\nz 0 0 0 5\n"},
		{"behind the end of its block", "m /a.ko - -\nb /b 10 " + sum + "\nz 0 0 6 5\n"},
		{"before its block", "m /a.ko - -\nb /b 10 " + sum + "\nz 0 0 -1 5\n"},
		{"nothing of a block", "m /a.ko - -\nb /b 10 " + sum + "\nz 0 0 0 0\n"},
		{"a part so large that its end is small", "m /a.ko - -\nb /b 10 " + sum + "\nz 0 0 1 9223372036854775807\n"},
		{"part of no module", "b /b 10 " + sum + "\nz 0 0 0 5\n"},
		{"a block without a sum", "b /b 10 00\n"},
		{"a block that is too large", "b /b 8388609 " + sum + "\n"},
		{"a block of nothing", "b /b 0 " + sum + "\n"},
		{"no parameters", "m /a.ko - -\np 0\n"},
	} {
		if m, err := plan.DecodeModules([]byte(tt.file)); err == nil {
			t.Errorf("%s: DecodeModules(%q) = %v, want an error", tt.name, tt.file, m)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		modalias string
		want     []int
	}{
		{"virtio:d00000001v00001AF4", []int{1}},
		{"virtio:d00000002v00001AF4", nil},
		{"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", []int{2}},
		{"usb:v1D6Bp0002", []int{2}},
		{"usb:vXD6Bp0002", nil},
		{"", nil},
	} {
		if got := testModules().Match(tt.modalias); !slices.Equal(got, tt.want) {
			t.Errorf("Match(%q) = %v, want %v", tt.modalias, got, tt.want)
		}
	}
	if i := testModules().Find("virtio-net"); i != 1 {
		t.Errorf("Find(virtio-net) = %d, want 1: - and _ are equal", i)
	}
}

func FuzzDecodeModules(f *testing.F) {
	f.Add(testModules().Encode())
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := plan.DecodeModules(file)
		if err != nil {
			return
		}
		for i, mod := range m.List {
			for _, d := range slices.Concat(mod.Deps, mod.Soft) {
				if d < 0 || d >= i {
					t.Errorf("module %d waits for %d", i, d)
				}
			}
		}
		m.Match("pci:v00001AF4")
	})
}
