package worker_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// A volume whose header is in the image or on a stick opens where its payload
// is, and nowhere else.
func TestDetachedHeader(t *testing.T) {
	inImage, onStick := &plan.HeaderFile{Path: "/etc/root.hdr"}, &plan.HeaderFile{Device: "LABEL=KEYS", Path: "shop.key"}
	other := func() string { return boottest.DataDisk().Detach() }
	for _, row := range []struct {
		name, code string
		says       string
		change     func(m *boottest.Machine, header string)
	}{
		{"in the image", "", "", func(*boottest.Machine, string) {}},
		{"on a stick", "", "", func(m *boottest.Machine, header string) {
			m.Plan.Volumes[0].Header = onStick
			m.Disks = append(m.Disks, boottest.Stick(header))
		}},
		{"on a stick, beside one with another disk's", "", "", func(m *boottest.Machine, header string) {
			m.Plan.Volumes[0].Header = onStick
			m.Disks = append(m.Disks, boottest.Stick(other()), boottest.Stick(header))
			m.Disks[1].Name = "sdb"
		}},
		{"a payload with the rest of another volume's header", "", "", func(m *boottest.Machine, _ string) { copy(m.Disks[0].Bytes, boottest.RootDisk().Bytes[:4096]) }},
		{"not in the image", "volume-missing", "the header /etc/root.hdr in the image: ", func(m *boottest.Machine, _ string) { m.Keys = nil }},
		{"no stick", "volume-missing", "the header shop.key on LABEL=KEYS: no such device is there", func(m *boottest.Machine, _ string) { m.Plan.Volumes[0].Header = onStick }},
		{"a stick with another disk's", "volume-missing", "it is the header of volume \"" + boottest.DataUUID, func(m *boottest.Machine, _ string) {
			m.Plan.Volumes[0].Header = onStick
			m.Disks = append(m.Disks, boottest.Stick(other()))
		}},
		{"a stick with something else", "volume-missing", "no LUKS header", func(m *boottest.Machine, _ string) {
			m.Plan.Volumes[0].Header = onStick
			m.Disks = append(m.Disks, boottest.Stick("a key"))
		}},
		{"another disk's in the image", "volume-missing", "it is the header of volume \"" + boottest.DataUUID, func(m *boottest.Machine, _ string) { m.Keys["/headers/"+boottest.RootUUID] = other() }},
		{"a header that was cut", "header-rejected", "not-luks", func(m *boottest.Machine, header string) { m.Keys["/headers/"+boottest.RootUUID] = header[:4096] }},
		{"a payload that is too short", "header-rejected", "segment-", func(m *boottest.Machine, _ string) { m.Disks[0].Bytes = m.Disks[0].Bytes[:100] }},
		{"another serial", "volume-missing", "no device for its payload", func(m *boottest.Machine, _ string) { m.Disks[0].Serial = "x" }},
		{"no partition of that name", "volume-missing", "no device for its payload: PARTLABEL=payload", func(m *boottest.Machine, _ string) { m.Plan.Volumes[0].Data = "PARTLABEL=payload" }},
		{"a clone", "volume-multipath", "no WWID tells which", func(m *boottest.Machine, _ string) {
			m.Disks = append(m.Disks, &boottest.Disk{Name: "vdb", Serial: m.Disks[0].Serial, Bytes: m.Disks[0].Bytes})
		}},
		{"a pinned digest of another header", "volume-locked", "", func(m *boottest.Machine, _ string) { m.Plan.Volumes[0].Digest = strings.Repeat("00", 32) }},
	} {
		run(t, row.name, func() *boottest.Machine {
			m := boottest.New("kms")
			m.Plan.Wait = time.Minute
			m.Disks[0].Serial = "disk-1"
			header := m.Disks[0].Detach()
			m.Keys = map[string]string{"/headers/" + boottest.RootUUID: header}
			m.Plan.Volumes[0].Header, m.Plan.Volumes[0].Serial = inImage, "disk-1"
			row.change(m, header)
			return m
		}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
			if got := boottest.Failure(said); got != row.code {
				t.Errorf("failed with %q, want %q:\n%s", got, row.code, story(said))
			}
			if text := failureText(said); !strings.Contains(text, row.says) {
				t.Errorf("says %q, want %q in it", text, row.says)
			}
		})
	}
}

// A header that is elsewhere is not written to: its next secret stays with
// the key server.
func TestDetachedHeaderIsNotChanged(t *testing.T) {
	run(t, "staged", func() *boottest.Machine {
		m := boottest.New("kms")
		m.Disks[0].Serial = "disk-1"
		m.Keys = map[string]string{"/headers/" + boottest.RootUUID: m.Disks[0].Detach()}
		m.Plan.Volumes[0].Header, m.Plan.Volumes[0].Serial = &plan.HeaderFile{Path: "/etc/root.hdr"}, "disk-1"
		m.KMS.Staged = map[string]string{boottest.RootUUID: next}
		return m
	}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if got := detail(said, "rotate"); got != "" || boottest.Failure(said) != "" || m.Disks[0].Syncs != 0 {
			t.Errorf("rotate says %q, %d syncs:\n%s", got, m.Disks[0].Syncs, story(said))
		}
	})
}
