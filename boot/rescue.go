package boot

import (
	"errors"
	"fmt"
	"time"

	"latchkey/boot/codes"
)

// rescue is what follows a failure that ends the boot: say why and what
// to do, take every key away, close the TPM, and do as the plan says. None
// of it waits for ever for a child or a disk. It returns only if even the
// reboot failed.
func (b *pid1) rescue(cause error) error {
	step, ok := errors.AsType[*StepError](cause)
	if !ok {
		step = &StepError{"boot", codes.Of(cause), cause}
	}
	b.say(step)
	if b.partly != nil && step != b.partly {
		b.say(b.partly)
	}
	if b.worker != nil {
		b.tell("", b.worker.stop())
	}
	b.unmount()

	b.removeMappings()
	if b.latch != nil && !b.latch.noTPM() {
		b.tell("closing the TPM: ", b.capTPM())
	}
	action, after := "reboot", time.Minute
	if b.plan != nil {
		action, after = b.plan.OnFail.Action, b.plan.OnFail.After
	}

	if step.Code == codes.PCR15Used {
		action, after = "reboot", 0
	}
	b.sys.Log(Human, fmt.Sprintf("%s in %s", action, after))
	if action == "wait" {
		select {} // an operator comes with a cable or a power switch
	}

	time.Sleep(after) // the plan's pause, for people to read the console
	b.watchdog.leave()
	return errors.Join(cause, b.sys.Reboot(action))
}

// tell logs what went wrong on the way down.
func (b *pid1) tell(what string, err error) {
	if err != nil {
		b.sys.Log(Human, what+err.Error())
	}
}

func (b *pid1) say(step *StepError) {
	b.sys.Log(Human, step.Error())
	if advice := codes.Means(step.Code).Advice; advice != "" {
		b.sys.Log(Human, "what to do: "+advice)
	}
}

// capWait is how long the TPM may take to be closed, restarts included.
const capWait = time.Minute

// capTPM extends PCR 15 and 11, so that nothing that runs after a failed
// boot, or after one that did without the TPM, can unseal or be granted
// what this boot could. It is best effort: there may be no TPM, and the
// mappings of a failed boot are closed in any case.
func (b *pid1) capTPM() error {
	if err := b.latch.stop(); err != nil { // whatever it was at
		return err
	}
	last := phase("latchkey-rescue")
	last.PCR = 15
	b.latch = &latchKeeper{keeper: keeper{sys: b.sys, role: "latch", ever: b.latch.ever}, off: b.latch.off}
	b.latch.add(last)
	b.latch.add(phase("leave-initrd"))
	b.capping, b.capLate = true, time.After(capWait)
	err := b.latch.start()
	if err == nil {
		err = b.waitLatch()
	}
	return errors.Join(err, b.latch.stop())
}
