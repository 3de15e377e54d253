package boot

import (
	"fmt"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// maxRestarts is how often a worker or a latch is started again before
// the boot is given up: the machine then starts afresh.
const maxRestarts = 8

// startChildren starts the latch and the worker. They read the plan
// themselves, so they need not wait until PID 1 has.
func (b *pid1) startChildren() error {
	b.latch = &latchKeeper{sys: b.sys}
	b.worker = &workerKeeper{sys: b.sys}
	b.latch.add(phase("enter-initrd"))
	if err := b.worker.start(); err != nil { // first: everything waits for it
		return err
	}
	return b.latch.start()
}

// unlock supervises the worker and the latch until all volumes are open.
func (b *pid1) unlock() error {
	dog := time.NewTimer(wire.Silence)
	defer dog.Stop()
	for {
		select {
		case r, ok := <-b.worker.records():
			dog.Reset(wire.Silence)
			if done, err := b.fromWorker(r, ok); done || err != nil {
				return err
			}

		case r, ok := <-b.latch.records():
			if err := b.fromLatch(r, ok); err != nil {
				return err
			}
			if b.latch.idle() || b.latch.absent {
				b.worker.entered(b.latch.absent)
			}

		case err := <-b.ciphers.loading:
			b.ciphersLoaded(err)
		case <-b.worker.again:
			if err := b.worker.start(); err != nil {
				return err
			}
			b.worker.resend()

		case <-dog.C:
			b.sys.Log(Human, "the worker says nothing: starting it again")
			b.worker.kill()
			dog.Reset(wire.Silence)
		}
	}
}

// waitLatch lets the latch finish its orders.
func (b *pid1) waitLatch() error {
	dog := time.NewTimer(wire.Silence)
	defer dog.Stop()
	for !b.latch.idle() {
		select {
		case r, ok := <-b.latch.records():
			if err := b.fromLatch(r, ok); err != nil {
				return err
			}
		case <-dog.C:
			b.sys.Log(Human, "the latch says nothing: starting it again")
			b.latch.child.Kill()
			dog.Reset(wire.Silence)
		}
	}

	return nil
}

// fromWorker takes one record of the worker, or its end (ok is false).
func (b *pid1) fromWorker(r wire.Record, ok bool) (done bool, err error) {
	if !ok {
		return false, b.restartWorker("the worker died")
	}
	switch r.Kind {
	case wire.KindStep:
		b.note(r)
	case wire.KindWantCiphers:
		b.loadCiphers()
	case wire.KindWaiting:
		b.show(r)

	case wire.KindOpened:
		if b.volume(r.Name) == nil {
			b.worker.kill()
			return false, nil
		}
		b.opened = append(b.opened, r)

	case wire.KindRoot:
		b.root = r
	case wire.KindDone:
		if missing := b.allOpen(); missing != "" {
			b.worker.stop()
			return false, b.restartWorker("the worker left " + missing + " closed")
		}
		return true, nil

	case wire.KindFailed:
		if codes.Means(r.Code).Class == codes.Final {
			return false, &StepError{"unlock", r.Code, fmt.Errorf("%s", r.Text)}
		}
		b.sys.Log(Human, fmt.Sprintf("%s: %s; trying again", r.Code, r.Text))
	}
	return false, nil
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
	b.opened, b.root = nil, wire.Record{}
	b.removeMappings()
	pause, ok := b.worker.backoff()
	if !ok {
		return &StepError{"unlock", "worker-dies", fmt.Errorf("%s %d times", why, maxRestarts+1)}
	}
	b.sys.Log(Human, why+": starting it again")
	b.worker.later(pause)
	return nil
}

func (b *pid1) removeMappings() {
	if b.plan == nil {
		return
	}
	present, err := b.sys.Mappings()
	if err != nil {
		b.sys.Log(Human, "listing mappings: "+err.Error())
		return
	}

	for _, v := range b.plan.Volumes {
		if _, ok := present[v.Name]; !ok {
			continue
		}
		if err := b.sys.RemoveMapping(v.Name); err != nil {
			b.sys.Log(Human, "removing mapping "+v.Name+": "+err.Error())
		}
	}
}

// show tells people why it takes time: each new line once, not at every
// retry.
func (b *pid1) show(r wire.Record) {
	line := r.Code + ": " + r.Text
	if advice := codes.Means(r.Code).Advice; advice != "" {
		line += " (" + advice + ")"
	}
	if line == b.console {
		return
	}
	b.console = line
	b.sys.Log(Human, line)
}
