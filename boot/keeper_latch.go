package boot

import (
	"crypto/sha256"
	"fmt"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// A latchKeeper is PID 1's side of the latch: the orders that are not
// carried out yet, and what the running one was seen to do. A latch that
// dies is started again and told; it then reads the PCR and skips what
// is done, so that nothing is extended twice.
type latchKeeper struct {
	sys     System
	child   Child
	started int
	orders  []wire.Record // of kind wire.KindExtend, the first is under way
	pending *wire.Record  // of kind wire.KindExtending: the first order's old and new value
	absent  bool          // there is no TPM
}

// phase is the order to measure a phase of the boot into PCR 11, as
// systemd-pcrphase(8) does.
func phase(name string) wire.Record {
	return wire.Record{Kind: wire.KindExtend, PCR: 11, New: sha256.Sum256([]byte(name)), Text: name}
}

func (l *latchKeeper) add(order wire.Record) {
	l.orders = append(l.orders, order)
	if len(l.orders) == 1 && l.child != nil {
		l.give()
	}
}

func (l *latchKeeper) idle() bool { return len(l.orders) == 0 }

func (l *latchKeeper) start() error {
	child, err := l.sys.Start("latch", l.started)
	if err != nil {
		return &StepError{"latch", "failed", fmt.Errorf("starting the latch: %w", err)}
	}
	l.child = child
	l.started++
	l.give()
	return nil
}

// give sends the first order, and what is known of it from before.
func (l *latchKeeper) give() {
	if l.idle() {
		return
	}
	if l.pending != nil {
		resume := *l.pending
		resume.Kind = wire.KindResume
		l.child.Send(resume) // a latch that is gone shows as the end of its records
	}
	l.child.Send(l.orders[0])
}

func (l *latchKeeper) records() <-chan wire.Record {
	if l.child == nil {
		return nil
	}
	return l.child.Records()
}

func (l *latchKeeper) stop() {
	if l.child == nil {
		return
	}
	l.child.Kill()
	for range l.child.Records() {
	}
	l.child = nil
}

// fromLatch takes one record of the latch, or its end (ok is false).
func (b *pid1) fromLatch(r wire.Record, ok bool) error {
	l := b.latch
	if !ok {
		l.child = nil
		if l.absent {
			return nil
		}
		if l.started > maxRestarts {
			return &StepError{"latch", "latch", fmt.Errorf("the latch died %d times", l.started)}
		}
		b.sys.Log(Human, "the latch died: starting it again")
		return l.start()
	}

	switch r.Kind {
	case wire.KindExtending:
		if l.idle() || r.PCR != l.orders[0].PCR || r.New != wire.Extended(r.Old, l.orders[0].New) {
			return &StepError{"latch", "latch", fmt.Errorf("the latch wants to extend PCR %d, which nobody ordered", r.PCR)}
		}
		l.pending = &r
		l.child.Send(wire.Record{Kind: wire.KindGo})
	case wire.KindExtended:
		if l.pending == nil || r.PCR != l.pending.PCR || r.New != l.pending.New {
			return &StepError{"latch", "latch", fmt.Errorf("the latch extended PCR %d unasked", r.PCR)}
		}
		l.pending = nil
		l.orders = l.orders[1:]
		l.give()
	case wire.KindFailed:
		return b.latchFailed(r)
	}

	return nil
}

func (b *pid1) latchFailed(r wire.Record) error {
	if r.Code == "tpm-missing" && b.plan != nil && !b.plan.NeedsTPM() {
		b.latch.absent = true
		b.latch.orders = nil
		return nil
	}
	if codes.Means(r.Code).Class == codes.Final {
		return &StepError{"latch", r.Code, fmt.Errorf("%s", r.Text)}
	}
	b.sys.Log(Human, fmt.Sprintf("latch: %s: %s; trying again", r.Code, r.Text))
	return nil
}
