package boot_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"latchkey/boot"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// misled is a machine whose command line says of the root what is not so:
// it mounts as xfs only, and has /sbin/init only.
type misled struct{ *recorder }

func (m misled) Mount(mount boot.Mount) error {
	if mount.Target == "/sysroot" && (mount.Type != "xfs" || strings.Contains(mount.Data, "bogus")) {
		m.note("no %s", mount)
		return errors.New("wrong fs type")
	}
	return m.recorder.Mount(mount)
}

func (m misled) InitIn(root, path string) (string, error) {
	if path != "/sbin/init" {
		return "", errors.New("no " + path)
	}
	return m.recorder.InitIn(root, path)
}

// TestHintsAboutRoot is faults/field.md P1: what the command line says of
// the root can turn no boot that the image alone would have made into a
// failure; it is named, and the image's root is used.
func TestHintsAboutRoot(t *testing.T) {
	for _, tt := range []struct{ cmdline, says string }{
		{"rootfstype=btrfs", "root-unusable: mounting root as btrfs"},
		{"rootflags=bogus", "root-unusable: mounting root as xfs"},
		{"init=/bin/nothing", "no-init: no /bin/nothing"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder(testPlan(func(p *plan.Plan) { p.Root.FSType = "xfs" }))
			r.files[wire.CmdlineAt] = []byte(tt.cmdline)
			go boot.Run(misled{r})
			<-r.ended
			log := strings.Join(r.log, "\n")
			if !strings.Contains(log, tt.says) || !strings.Contains(log, "switch root to /sysroot, run /sbin/init") {
				t.Errorf("%s: want %q and then the image's root, got\n%s", tt.cmdline, tt.says, log)
			}
		})
	}
}
