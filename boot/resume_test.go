package boot_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"latchkey/boot"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// TestResume: PID 1 has the kernel look for a hibernated system only in what
// this boot opened, after the latch and before the root is mounted; and the
// boot goes on where there is none.
func TestResume(t *testing.T) {
	for _, tt := range []struct {
		name, holds string
		m           *boot.Mapping // of the swap, if it is not the volume's
		asks        bool          // the kernel
		says        string
	}{
		{"a hibernated system that the kernel refuses", "swsuspend", nil, true, "resume-failed: the system in data was not taken up"},
		{"a swap file", "ext4", nil, true, ""},
		{"none", "swap", nil, false, ""},
		{"a mapping that somebody else made", "swsuspend", &boot.Mapping{UUID: "CRYPT-PLAIN-data", Device: "253:2"}, false, "resume-missing: nothing is taken up from data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(testPlan(func(p *plan.Plan) {
					p.Volumes = append(p.Volumes, plan.Volume{UUID: dataUUID, Name: "data", Sources: []string{"kms"}})
				}))
				r.worker = func(n int, c *child) {
					c.records <- wire.Record{Kind: wire.KindWantCiphers}
					for range 2 {
						<-c.orders
					}
					for name, uuid := range map[string]string{"root": rootUUID, "data": dataUUID} {
						c.sys.mappings[name] = boot.Mapping{UUID: "CRYPT-LUKS2-" + strings.ReplaceAll(uuid, "-", "") + "-" + name, Device: "253:" + uuid[:1]}
						c.records <- wire.Record{Kind: wire.KindOpened, Name: name}
					}
					if tt.m != nil {
						c.sys.mappings["data"] = *tt.m
					}
					c.records <- wire.Record{Kind: wire.KindRoot, Name: "root", Text: "ext4"}
					c.records <- wire.Record{Kind: wire.KindSwap, Name: "data", Text: tt.holds}
					c.records <- wire.Record{Kind: wire.KindDone}
				}
				got := r.run(t)
				asked, mounted := strings.Index(got, `write /sys/power/resume "253:2"`), strings.Index(got, "mount /dev/mapper/root on /sysroot")
				latched := strings.Index(got, "latch ")
				if (asked >= 0) != tt.asks || mounted < 0 || tt.asks && (asked > mounted || latched < 0 || latched > asked) {
					t.Errorf("the kernel was asked: %d, the latch closed: %d, the root mounted: %d, want the kernel asked: %t\n%s", asked, latched, mounted, tt.asks, got)
				}
				if !strings.Contains(got, tt.says) || strings.Contains(got, "resume-") != (tt.says != "") || !strings.Contains(got, "switch root") {
					t.Errorf("the log lacks %q, or the boot did not go on:\n%s", tt.says, got)
				}
			})
		})
	}
}
