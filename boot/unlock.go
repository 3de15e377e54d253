package boot

import (
	"fmt"
	"slices"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// startChildren starts the latch and the worker. They read the plan
// themselves, so they need not wait until PID 1 has.
func (b *pid1) startChildren() error {
	b.latch = &latchKeeper{keeper: keeper{sys: b.sys, role: "latch"}}
	b.worker = &workerKeeper{keeper: keeper{sys: b.sys, role: "worker"}}
	b.latch.add(phase("enter-initrd"))
	if err := b.worker.start(); err != nil { // first: everything waits for it
		return err
	}
	if err := b.latch.start(); err != nil {
		return &StepError{"latch", "failed", err}
	}
	return nil
}

// unlock supervises the worker and the latch until all volumes are open.
func (b *pid1) unlock() error {
	for {
		select {
		case r, ok := <-b.worker.records():
			if done, err := b.fromWorker(r, ok); done || err != nil {
				return err
			}
		case err := <-b.ciphers.loading:
			b.ciphersLoaded(err)
		case <-b.worker.again:
			if err := b.worker.start(); err != nil {
				return err
			}
		case <-b.worker.silent:
			b.sys.Log(Human, "the worker is not responding: restarting it")
			b.worker.kill()
		case <-b.worker.overdue:
			return &StepError{"unlock", "child-stuck", b.worker.stuck()}

		case r, ok := <-b.latch.records():
			if err := b.fromLatch(r, ok); err != nil {
				return err
			}
			if b.latch.idle() && b.latch.off == "" {
				b.worker.entered("", "")
			}
		case <-b.latch.again:
			if err := b.startLatch(); err != nil {
				return err
			}
		case <-b.latch.silent:
			b.latchSilent()
		case <-b.latch.overdue:
			if err := b.latchStuck(); err != nil {
				return err
			}
		}
	}
}

// waitLatch lets the latch finish its orders.
func (b *pid1) waitLatch() error {
	for !b.latch.idle() {
		var err error
		select {
		case r, ok := <-b.latch.records():
			err = b.fromLatch(r, ok)
		case <-b.latch.again:
			err = b.startLatch()
		case <-b.latch.silent:
			b.latchSilent()
		case <-b.latch.overdue:
			err = b.latchStuck()
		case <-b.capLate:
			err = fmt.Errorf("no end after %s", capWait)
		}
		if err != nil {
			return err
		}
	}

	return nil
}

func (b *pid1) startLatch() error {
	if err := b.latch.start(); err != nil {
		return b.latchOff("failed", err.Error())
	}
	return nil
}

func (b *pid1) latchSilent() {
	b.sys.Log(Human, "the latch is not responding: restarting it")
	b.latch.kill()
}

func (b *pid1) latchStuck() error { return b.latchOff("child-stuck", b.latch.stuck().Error()) }

// fromWorker takes one record of the worker, or its end (ok is false).
func (b *pid1) fromWorker(r wire.Record, ok bool) (done bool, err error) {
	if !ok {
		return false, b.restartWorker("the worker died")
	}
	if b.worker.overdue == nil {
		b.worker.heard()
	}
	switch r.Kind {
	case wire.KindStep:
		b.note(r)
	case wire.KindWantCiphers:
		b.loadCiphers()
	case wire.KindWaiting:
		b.show(r)

	case wire.KindOpened, wire.KindClosed:
		if b.volume(r.Name) == nil {
			b.worker.kill()
			return false, nil
		}
		b.outcome(r)

	case wire.KindRoot:
		b.root = r
	case wire.KindSwap:
		b.swap = r
	case wire.KindUsr:
		b.usr = r
	case wire.KindOverlay:
		b.overlay = r
	case wire.KindDone:
		if missing := b.allOpen(); missing != "" {
			if err := b.worker.stop(); err != nil {
				return false, &StepError{"unlock", "child-stuck", err}
			}
			return false, b.restartWorker("the worker left " + missing + " closed")
		}
		return true, nil

	case wire.KindFailed:
		if codes.Means(r.Code).Class == codes.Final {
			return false, &StepError{"unlock", r.Code, fmt.Errorf("%s", r.Text)}
		}
		b.sys.Log(Human, fmt.Sprintf("%s: %s; trying again", r.Code, r.Text))
		b.worker.kill() // it is about to end; if it does not, it is overdue
	}
	return false, nil
}

// outcome notes that a volume is open, or stays closed.
func (b *pid1) outcome(r wire.Record) {
	if r.Kind == wire.KindClosed {
		b.closed = append(b.closed, r)
		b.sys.Log(Human, fmt.Sprintf("volume %s stays closed: %s: %s%s", r.Name, r.Code, r.Text, advice(r.Code)))
		return
	}
	b.opened = append(b.opened, r)
}

// allOpen checks the worker's word against the plan and puts the volumes
// in its order. It names a volume that should be open and is not.
func (b *pid1) allOpen() (missing string) {
	var inOrder []wire.Record
	for _, v := range b.plan.Volumes {
		i := slices.IndexFunc(b.opened, func(r wire.Record) bool { return r.Name == v.Name })
		if i < 0 && !v.NoFail {
			return v.Name
		}
		if i >= 0 {
			inOrder = append(inOrder, b.opened[i])
		}
	}
	b.opened = inOrder
	return ""
}

// restartWorker clears away what a dead worker left and starts another
// after a pause that grows.
func (b *pid1) restartWorker(why string) error {
	b.worker.gone()
	b.opened, b.closed, b.root, b.swap, b.usr, b.overlay = nil, nil, wire.Record{}, wire.Record{}, wire.Record{}, wire.Record{}
	b.removeMappings()
	if !b.worker.restart(maxRestarts) {
		return &StepError{"unlock", "worker-dies", fmt.Errorf("%s %d times", why, maxRestarts+1)}
	}
	b.sys.Log(Human, why+": starting it again")
	return nil
}

// show tells people why it takes time: each new line once, not at every
// retry.
func (b *pid1) show(r wire.Record) {
	line := r.Code + ": " + r.Text + advice(r.Code)
	if line == b.console {
		return
	}
	b.console = line
	b.sys.Log(Human, line)
}

// advice is what a person can do, in parentheses behind a line.
func advice(code string) string {
	if a := codes.Means(code).Advice; a != "" {
		return " (" + a + ")"
	}
	return ""
}
