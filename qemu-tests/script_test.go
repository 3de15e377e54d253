// Package qemutests boots whole machines in QEMU, with a software TPM and
// a LAN of their own, and checks what their consoles say. Each file in
// scripts/ is one story; docs/testing.md lists the commands.
package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// needed are the programs that the scripts run.
var needed = []string{"qemu-system-x86_64", "qemu-system-aarch64", "swtpm", "ip", "dnsmasq", "mke2fs", "cryptsetup", "zstd", "qemu-img", "chromium", "npm"}

func TestScripts(t *testing.T) {
	if reason := missing(); reason != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	shared := prepare(t)
	testscript.Run(t, testscript.Params{
		Dir:   "scripts",
		Setup: func(env *testscript.Env) error { return setUp(env, shared) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"boot":        cmdBoot,
			"browser":     cmdBrowser,
			"capture":     cmdCapture,
			"chip":        cmdChip,
			"console":     cmdConsole,
			"count":       cmdCount,
			"dhcp":        cmdDHCP,
			"debian":      cmdDebian,
			"disk":        cmdDisk,
			"documented":  cmdDocumented,
			"early":       cmdEarly,
			"enroll":      cmdEnroll,
			"image":       cmdImage,
			"kcrypt":      cmdKcrypt,
			"kernel":      cmdKernel,
			"kms":         cmdKMS,
			"lacks":       cmdLacks,
			"talos":       cmdTalos,
			"mash":        cmdMash,
			"memory":      cmdMemory,
			"mirror":      cmdMirror,
			"behind":      cmdBehind,
			"packages":    cmdPackages,
			"programs":    cmdPrograms,
			"lan":         cmdLAN,
			"lvm":         cmdLVM,
			"net":         cmdNet,
			"off":         cmdOff,
			"relay":       cmdRelay,
			"responder":   cmdResponder,
			"rogue":       cmdRogue,
			"fingerprint": cmdFingerprint,
			"same":        cmdSame,
			"sealed":      cmdSealed,
			"storm":       cmdStorm,
			"plug":        cmdPlug,
			"unplug":      cmdUnplug,
			"survive":     cmdSurvive,
			"system":      cmdSystem,
			"tang":        cmdTang,
			"type":        cmdType,
			"uki":         cmdUKI,
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "long":
				return os.Getenv("LATCHKEY_LONG") == "1", nil
			case "interop":
				return os.Getenv(interopEnv) != "", nil
			case "mkinitcpio":
				return os.Getenv("LATCHKEY_MKINITCPIO") != "", nil
			}
			return false, fmt.Errorf("there is no condition %s; only long, interop and mkinitcpio", name)
		},
		RequireUniqueNames:  true,
		ContinueOnError:     false,
		TestWork:            os.Getenv("TESTWORK") != "",
		RequireExplicitExec: true,
	})
}

// missing says what the scripts cannot do without, or "".
func missing() string {
	if os.Getuid() != 0 {
		return "needs root: the scripts make network namespaces and taps"
	}
	for _, p := range needed {
		if _, err := exec.LookPath(p); err != nil {
			return "needs " + p + ": run images/deps"
		}
	}
	return ""
}

// A world is what one script has: a folder, a LAN, services and at most
// one running machine.
type world struct {
	shared   *shared
	kernel   string // folder: vmlinuz
	modules  string // folder of its modules
	dir      string
	lan      *lan
	hardware hardware
	machine  *machine
	began    time.Time
	running  map[string]*service
	storm    *storm
	relay    *relay
	capture  *capture
	counter  *counter
}

type worldKey struct{}

func setUp(env *testscript.Env, s *shared) error {
	w := &world{shared: s, kernel: s.kernel, modules: s.modules, hardware: s.pc(), dir: env.WorkDir, began: time.Now(), running: map[string]*service{}}
	env.Values[worldKey{}] = w
	env.Setenv("PATH", s.bin+":"+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KERNEL", filepath.Join(w.kernel, "vmlinuz"))
	env.Setenv("MODULES", w.modules)
	env.Setenv("KMS_DATA", filepath.Join(w.dir, "kms"))
	name := filepath.Base(env.WorkDir)
	env.Defer(func() {
		w.close()
		fmt.Printf("%-40s %6.1f s\n", name, time.Since(w.began).Seconds())
	})

	var err error
	if w.lan, err = newLAN(); err == nil {
		env.Setenv("NS", w.lan.ns) // for: exec ip netns exec $NS …
	}
	return err
}

func (w *world) close() {
	if w.machine != nil {
		w.machine.kill()
	}
	for _, s := range w.running {
		s.stop()
	}
	if w.lan != nil {
		w.lan.close()
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }
