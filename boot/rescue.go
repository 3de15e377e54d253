package boot

import (
	"errors"
	"fmt"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// rescue is what follows a failure that ends the boot: say why and what
// to do, take every key away, close the TPM, and do as the plan says.
// It returns only if even the reboot failed.
func (b *pid1) rescue(cause error) error {
	step, ok := errors.AsType[*StepError](cause)
	if !ok {
		step = &StepError{"boot", codes.Of(cause), cause}
	}
	b.say(step)
	if b.worker != nil {
		b.worker.stop()
	}

	if b.mounted {
		if err := b.sys.Unmount(sysroot); err != nil {
			b.sys.Log(Human, "unmounting the root: "+err.Error())
		}
	}

	b.removeMappings()
	b.capTPM()
	action, after := "reboot", time.Minute
	if b.plan != nil {
		action, after = b.plan.OnFail.Action, b.plan.OnFail.After
	}

	if step.Code == "pcr15-used" {
		action, after = "reboot", 0
	}
	b.sys.Log(Human, fmt.Sprintf("%s in %s", action, after))
	if action == "wait" {
		select {} // an operator comes with a cable or a power switch
	}

	time.Sleep(after) // the plan's pause, for people to read the console
	return errors.Join(cause, b.sys.Reboot(action))
}

func (b *pid1) say(step *StepError) {
	b.sys.Log(Human, step.Error())
	if advice := codes.Means(step.Code).Advice; advice != "" {
		b.sys.Log(Human, "what to do: "+advice)
	}
}

// capTPM extends PCR 15 and 11, so that nothing that runs after a failed
// boot can unseal or be granted what this boot could. It is best effort:
// there may be no TPM, and the mappings are closed in any case.
func (b *pid1) capTPM() {
	if b.latch == nil || b.latch.absent {
		return
	}
	b.latch.stop() // whatever it was at
	last := phase("latchkey-rescue")
	last.PCR = 15
	*b.latch = latchKeeper{sys: b.sys, orders: []wire.Record{last, phase("leave-initrd")}}
	err := b.latch.start()
	if err == nil {
		err = b.waitLatch()
	}
	if err != nil {
		b.sys.Log(Human, "closing the TPM: "+err.Error())
	}

	b.latch.stop()
}
