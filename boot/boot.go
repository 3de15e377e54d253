package boot

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// sysroot is where the real root is mounted first.
const sysroot = "/sysroot"

// workerGrace is how long the worker may take, after all is open, to
// report to the KMS and to leave the links as it found them.
const workerGrace = 2 * time.Second

// Run is one boot. It returns only if everything failed, Rescue and the
// reboot included.
func Run(sys System) error {
	b := &pid1{sys: sys, began: sys.Now()}
	err := b.boot()
	return b.rescue(err)
}

// A pid1 is what PID 1 remembers during one boot.
type pid1 struct {
	sys     System
	began   time.Duration
	plan    *plan.Plan
	latch   *latchKeeper
	worker  *workerKeeper
	ciphers ciphers
	steps   []wire.Record // of kind wire.KindStep, in the order they ended
	opened  []wire.Record // of kind wire.KindOpened, in the order of the plan
	root    wire.Record   // of kind wire.KindRoot
	swap    wire.Record   // of the mapping in which a hibernated system may be
	usr     wire.Record   // of kind wire.KindUsr
	overlay wire.Record   // of kind wire.KindOverlay
	mounts  []string      // where what is of the root is mounted, in order
	console string        // the last line that people were shown
	partly  *StepError    // the image was not unpacked whole
	closed  []wire.Record // of kind KindClosed

	measured []measured // what the latch extended, in order
	watchdog *petter
	capping  bool             // the TPM is being closed after a failure
	capLate  <-chan time.Time // when that has taken long enough
}

// boot is the story: every line needs the one before it.
func (b *pid1) boot() error {
	if err := b.mountEarly(); err != nil {
		return err
	}
	if err := b.startChildren(); err != nil {
		return err
	}
	b.watchdog = pet(b.sys)

	if err := b.readPlan(); err != nil {
		return err
	}
	if err := b.unlock(); err != nil {
		return err
	}

	closing := b.closeLatch() // goes on beside the mount, which runs nothing
	if b.swap.Name != "" {
		if err := closing(); err != nil {
			return err
		}
		b.resume()
		closing = func() error { return nil }
	}
	if err := b.mountRoot(); err != nil {
		return err
	}

	if err := closing(); err != nil {
		return err
	}
	return b.pivot()
}

func (b *pid1) mountEarly() error {
	for _, m := range early() {
		if err := b.sys.Mount(m); err != nil {
			return &StepError{"mount", "failed", fmt.Errorf("mounting %s: %w", m.Target, err)}
		}
	}
	// Without this /dev/kmsg takes ten lines in five seconds and drops
	// the rest: Documentation/admin-guide/sysctl/kernel.rst.
	if err := b.sys.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0o644); err != nil {
		b.sys.Log(Info, "the kernel log may lose lines: "+err.Error())
	}
	return nil
}

// step notes a step of PID 1's own.
func (b *pid1) step(name string, start time.Duration, detail string) {
	r := wire.Record{Kind: wire.KindStep, Name: name, Text: detail, Start: start, Duration: b.sys.Now() - start}
	b.note(r)
}

// note keeps a step for the report and logs it.
func (b *pid1) note(r wire.Record) {
	const maxSteps = 1000 // a worker that fails for a day fills no memory
	if len(b.steps) >= maxSteps {
		b.steps = slices.Delete(b.steps, 0, maxSteps/2)
	}
	b.steps = append(b.steps, r)
	line := r.Name
	if r.Text != "" {
		line += " " + r.Text
	}
	if r.Code != "" {
		line += " code=" + r.Code
	}
	b.sys.Log(Info, fmt.Sprintf("%s %dms", line, r.Duration.Milliseconds()))
}

// closeLatch orders the opened volumes and the end of the initrd phase to
// be measured into the TPM, and returns how to wait for it. Nothing of the
// disk runs before that is done.
func (b *pid1) closeLatch() (wait func() error) {
	start := b.sys.Now()
	if b.latch.off != "" {
		return func() error { b.closeUnused(); return nil }
	}

	for _, o := range b.opened {
		b.latch.add(wire.Record{Kind: wire.KindExtend, PCR: 15, Digests: o.Digests, Text: "volume " + o.Name})
	}
	b.latch.add(phase("leave-initrd"))
	return func() error {
		if err := b.waitLatch(); err != nil {
			return err
		}
		if b.latch.off != "" {
			b.closeUnused()
			return nil
		}
		b.tell("", b.latch.stop())
		b.step("latch", start, fmt.Sprintf("volumes=%d", len(b.opened)))
		return nil
	}
}

// closeUnused closes a TPM that failed, as well as it lets itself be closed:
// what the disk runs must not be granted in the name of this boot.
func (b *pid1) closeUnused() {
	if b.latch.off != codes.TPMMissing {
		b.tell("closing the TPM: ", b.capTPM())
	}
}

// pivot hands over to the real root's init. Every check comes before the
// first thing that cannot be undone.
func (b *pid1) pivot() error {
	init, resolved, err := b.findInit()
	if err != nil {
		return err
	}

	b.tell("", b.worker.finish(workerGrace, b.note)) // it holds no key any more, and the disks are open
	if err := b.handOver(); err != nil {
		return &StepError{"pivot", "failed", err}
	}

	var args []string
	if strings.HasSuffix(resolved, "/systemd") {
		if args, err = b.systemdArgs(); err != nil {
			b.sys.Log(Info, "systemd will not know when the initrd began: "+err.Error())
		}
	}

	b.summary()
	b.watchdog.disarm()
	return &StepError{"pivot", "failed", b.sys.SwitchRoot(sysroot, init, args)}
}

// findInit returns the path to run, as the root names it (busybox looks
// at the name), and the file that it stands for.
func (b *pid1) findInit() (path, resolved string, err error) {
	var errs []error
	roots := b.plan.Roots()
	for i, root := range roots {
		for _, p := range root.Inits() {
			resolved, err := b.sys.InitIn(sysroot, p)
			if err == nil {
				return p, resolved, nil
			}
			errs = append(errs, err)
		}
		if i < len(roots)-1 {
			b.sys.Log(Human, "no-init: "+errors.Join(errs...).Error()+": the command line is wrong; running the image's init")
		}
	}
	return "", "", &StepError{"pivot", "no-init", errors.Join(errs...)}
}

// volume finds a volume of the plan by the name of its mapping.
func (b *pid1) volume(name string) *plan.Volume {
	for i := range b.plan.Volumes {
		if b.plan.Volumes[i].Name == name {
			return &b.plan.Volumes[i]
		}
	}
	return nil
}
