package initramfs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// TestTalosOfVolumes: Talos' endpoints as the plan has them; what one volume
// may be opened by, all may.
func TestTalosOfVolumes(t *testing.T) {
	x, y, pin := strings.Repeat("0a", 32), strings.Repeat("0b", 32), "sha256//"+strings.Repeat("A", 43)+"="
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(`volumes:
  - uuid: 5ca1ab1e-0000-4000-8000-00000000d150
    name: state
    digest: `+x+`
    sources: [talos-tpm2: {sealed: [`+y+`]}, talos-kms: {url: ['https://kms.example/', 'grpc://192.0.2.8:4050', '[2001:db8::8]:4050'], pin: '`+pin+`', sealed: [`+x+`]}, talos-node-id: {volume: STATE}]
  - uuid: 0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9
    name: data
    lock-to-state: state
    sources: [talos-kms: {url: 'https://kms.example:443', sealed: [`+y+`], node: 4c4c4544-0042-3510-8052-b4c04f4d3632, wait: 2m}]
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Talos{
		KMS: []string{"https://kms.example:443", "http://192.0.2.8:4050", "http://[2001:db8::8]:4050"}, TLS: plan.TLS{Pins: []string{pin}},
		Sealed: []string{y, x}, Node: "4c4c4544-0042-3510-8052-b4c04f4d3632", Wait: 120e9,
	}
	if diff := cmp.Diff(want, p.Talos); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s, d := p.Volumes[0], p.Volumes[1]; s.Talos != "STATE" || s.LockedTo != "" || d.Talos != "" || d.LockedTo != "state" {
		t.Errorf("volumes %+v, %+v", s, d)
	}
}

// TestStateDrivers: an image for a volume that is locked to another has what
// reads that one.
func TestStateDrivers(t *testing.T) {
	locked := config[:strings.LastIndex(config, "}]")] + ", name: state}, {uuid: 0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9, name: data, lock-to-state: state}]\nroot: {fstype: ext4}\n"
	for text, want := range map[string]bool{config + "root: {fstype: ext4}\n": false, locked: true} {
		if got := newTree(t).index(text).Find("xfs") >= 0; got != want {
			t.Errorf("xfs in the image: %t, want %t: %s", got, want, text)
		}
	}
}
