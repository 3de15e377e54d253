package boot_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"latchkey/boot"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

const dataUUID = "22222222-2222-3333-4444-555555555555"

// onLogical opens two volumes and calls a logical volume on them the root.
func onLogical(m boot.Mapping) func(int, *child) {
	return func(n int, c *child) {
		for range 2 {
			<-c.orders
		}
		for name, uuid := range map[string]string{"root": rootUUID, "data": dataUUID} {
			c.sys.mappings[name] = boot.Mapping{UUID: "CRYPT-LUKS2-" + strings.ReplaceAll(uuid, "-", "") + "-" + name, Device: "253:" + uuid[:1]}
			c.records <- wire.Record{Kind: wire.KindOpened, Name: name}
		}
		c.sys.mappings["vg-root"] = m
		c.records <- wire.Record{Kind: wire.KindRoot, Name: "vg-root", Text: "ext4"}
		c.records <- wire.Record{Kind: wire.KindDone}
	}
}

// TestLogicalRoot: PID 1 mounts a logical volume if the kernel says that it
// lies on volumes that this boot opened, and on nothing else.
func TestLogicalRoot(t *testing.T) {
	uuid := "LVM-" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		name string
		m    boot.Mapping
		want string
	}{
		{"on both volumes", boot.Mapping{UUID: uuid, Device: "253:9", On: []string{"data", "root"}}, "mount /dev/mapper/vg-root on /sysroot type ext4 (ro)"},
		{"on another disk, too", boot.Mapping{UUID: uuid, Device: "253:9", On: []string{"root", "sdb1"}}, "root-not-in-plan: logical volume vg-root lies on sdb1, which is not in the plan"},
		{"on nothing", boot.Mapping{UUID: uuid, Device: "253:9"}, `root-not-in-plan: mapping "vg-root" is not in the plan`},
		{"no logical volume", boot.Mapping{UUID: "CRYPT-PLAIN-x", Device: "253:9", On: []string{"root"}}, `root-not-in-plan: mapping "vg-root" is not in the plan`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(testPlan(func(p *plan.Plan) {
					p.Volumes = append(p.Volumes, plan.Volume{UUID: dataUUID, Name: "data", Sources: []string{"kms"}})
				}))
				r.worker = func(n int, c *child) {
					c.records <- wire.Record{Kind: wire.KindWantCiphers}
					onLogical(tt.m)(n, c)
				}
				got := r.run(t)
				if !strings.Contains(got, tt.want) {
					t.Errorf("the log lacks %q:\n%s", tt.want, got)
				}
				boots := strings.HasPrefix(tt.want, "mount")
				if written := strings.Contains(got, `write /run/udev/data/b253:9 "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1"`); written != boots || boots != strings.Contains(got, "switch root") {
					t.Errorf("the real root's udev was told: %t, want %t:\n%s", written, boots, got)
				}
				lv, root := strings.Index(got, "remove mapping vg-root"), strings.Index(got, "remove mapping root")
				if len(tt.m.On) > 0 && !boots && (lv < 0 || root < lv) {
					t.Errorf("the logical volume was not removed before what it lies on:\n%s", got)
				}
			})
		})
	}
}

// A logical volume on a mapping that only has the name of a volume is not
// mounted.
func TestLogicalRootOnStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(testPlan(nil))
		r.worker = func(_ int, c *child) {
			c.records <- wire.Record{Kind: wire.KindWantCiphers}
			for range 2 {
				<-c.orders
			}
			c.sys.mappings["root"] = boot.Mapping{UUID: "CRYPT-PLAIN-root", Device: "253:0"}
			c.sys.mappings["vg-root"] = boot.Mapping{UUID: "LVM-" + strings.Repeat("a", 64), Device: "253:9", On: []string{"root"}}
			c.records <- wire.Record{Kind: wire.KindOpened, Name: "root"}
			c.records <- wire.Record{Kind: wire.KindRoot, Name: "vg-root", Text: "ext4"}
			c.records <- wire.Record{Kind: wire.KindDone}
		}
		got := r.run(t)
		if !strings.Contains(got, "this boot did not open it") || strings.Contains(got, "switch root") {
			t.Errorf("want the mapping refused:\n%s", got)
		}
	})
}
