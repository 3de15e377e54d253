package boot

import (
	"errors"
	"io/fs"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// resumeFile takes the number of a device and looks there for a hibernated
// system: Documentation/admin-guide/pm/sleep-states.rst.
const resumeFile = "/sys/power/resume"

// resumeWait is how long the kernel may take to read a system back.
const resumeWait = 10 * time.Minute

// resume takes up the hibernated system that is in the swap, if there is one:
// then it does not return. The latch is closed by now, because what runs then
// is of the disk, and the root is not mounted, because that system has it
// mounted. The worker has ended, and nobody pets the watchdog while the
// kernel reads: it is left as it was found.
func (b *pid1) resume() {
	name, start := b.swap.Name, b.sys.Now()
	mappings, err := b.sys.Mappings()
	if err == nil {
		err = b.judge(name, mappings)
	}
	if err != nil {
		b.complain(codes.Fail("resume-missing", "nothing is taken up from %s: %w", name, err))
		return
	}

	if b.swap.Text == empty {
		b.step("resume", start, name+" holds=none")
		return
	}
	b.tell("", b.worker.finish(workerGrace, b.note))
	b.watchdog.disarm()
	defer func() { b.watchdog = pet(b.sys) }()
	if b.swap.Text == hibernated {
		b.sys.Log(Human, "resuming the hibernated system in "+name)
	}
	err = within(resumeWait, func() error {
		return b.sys.WriteFile(resumeFile, []byte(mappings[name].Device), 0)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.complain(codes.Fail("resume-missing", "this kernel cannot hibernate: there is no %s", resumeFile))
	case err != nil || b.swap.Text == hibernated:
		b.complain(codes.Fail("resume-failed", "the system in %s was not taken up, the kernel's lines say why%s", name, cause(err)))
	}
	b.step("resume", start, name+" holds="+b.swap.Text)
}

// What device.Probe calls a swap with a hibernated system in it, and one
// without. What is in a swap file it does not see.
const (
	hibernated = "swsuspend"
	empty      = "swap"
)

// complain tells people of what does not end the boot.
func (b *pid1) complain(err error) {
	b.show(wire.Record{Code: codes.Of(err), Text: err.Error()})
}

// cause is an error, if there is one, behind a line.
func cause(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}
