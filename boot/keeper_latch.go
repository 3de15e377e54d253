package boot

import (
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
)

// A latchKeeper is PID 1's side of the latch: the orders that are not
// carried out yet, and what the running one was seen to do. A latch that
// dies is started again and told; it then reads the PCR and skips what
// is done, so that nothing is extended twice.
type latchKeeper struct {
	keeper
	orders  []wire.Record // of kind KindExtend, the first is under way
	pending *wire.Record  // of kind KindExtending: the first order's old and new value
	why     wire.Record   // of kind KindFailed: what the last one failed of
	off     string        // the code for which the boot goes on without the TPM
}

// phase is the order to measure a phase of the boot into PCR 11, as
// systemd-pcrphase(8) does.
func phase(name string) wire.Record {
	return wire.Record{Kind: wire.KindExtend, PCR: 11, Digests: pcr.Measure([]byte(name)), Text: name}
}

func (l *latchKeeper) add(order wire.Record) {
	l.orders = append(l.orders, order)
	if len(l.orders) == 1 && l.child != nil {
		l.give()
	}
}

// noTPM tells whether the latch has found that there is none, so that there
// is none to close either. The worker's word for it would not do.
func (l *latchKeeper) noTPM() bool {
	return l.off == codes.TPMMissing || l.why.Code == codes.TPMMissing
}

func (l *latchKeeper) idle() bool { return len(l.orders) == 0 }

func (l *latchKeeper) start() error {
	if err := l.keeper.start(); err != nil {
		return err
	}
	l.give()
	return nil
}

// give sends the first order, and what is known of it from before. A latch
// without an order owes nobody a word.
func (l *latchKeeper) give() {
	if l.idle() {
		l.silent = nil
		return
	}
	l.heard()
	if l.pending != nil {
		resume := *l.pending
		resume.Kind = wire.KindResume
		l.send(resume)
	}
	l.send(l.orders[0])
}

// fromLatch takes one record of the latch, or its end (ok is false).
func (b *pid1) fromLatch(r wire.Record, ok bool) error {
	l := b.latch
	if !ok {
		l.gone()
		if l.off != "" && !b.capping {
			return nil
		}
		b.sys.Log(Human, "the latch died: starting it again")
		return b.latchAgain("the latch died")
	}

	if l.overdue == nil {
		l.heard()
	}
	switch r.Kind {
	case wire.KindExtending:
		if l.idle() || r.PCR != l.orders[0].PCR || r.New != wire.Extended(r.Old, l.orders[0].Digests.SHA256) {
			return &StepError{"latch", codes.Latch, fmt.Errorf("the latch wants to extend PCR %d, which nobody ordered", r.PCR)}
		}
		l.pending = &r
		l.send(wire.Record{Kind: wire.KindGo})
	case wire.KindExtended:
		if l.pending == nil || r.PCR != l.pending.PCR || r.New != l.pending.New {
			return &StepError{"latch", codes.Latch, fmt.Errorf("the latch extended PCR %d unasked", r.PCR)}
		}
		l.pending = nil
		if b.worker.word == nil {
			b.worker.held = r.Held
		}
		b.measured = append(b.measured, measured{l.orders[0], strings.Fields(r.Text), b.sys.Now()})
		l.orders = l.orders[1:]
		l.give()
	case wire.KindWaiting:
		b.show(r)
	case wire.KindFailed:
		return b.latchFailed(r)
	}

	return nil
}

// latchFailed takes the reason for which a latch ends.
func (b *pid1) latchFailed(r wire.Record) error {
	b.latch.kill() // it is about to end; if it does not, it is overdue
	b.latch.why = r
	if codes.Means(r.Code).Class != codes.Final {
		b.sys.Log(Human, fmt.Sprintf("latch: %s: %s; trying again", r.Code, r.Text))
		return nil
	}
	return b.latchOff(r.Code, r.Text)
}

// promptTries is how often a latch is started again if the boot can do
// without the TPM: somebody may stand at the console already.
const promptTries = 3

// latchAgain starts another latch after a pause that grows.
func (b *pid1) latchAgain(why string) error {
	most := maxRestarts
	if b.sparesTPM() {
		most = promptTries
	}
	if b.latch.restart(most) {
		return nil
	}
	code, text := codes.Latch, fmt.Sprintf("%s %d times", why, b.latch.started)
	if b.latch.why.Code != "" {
		code, text = b.latch.why.Code, b.latch.why.Text
	}
	return b.latchOff(code, text)
}

// sparesTPM tells whether all that the boot needs can be opened without the
// TPM: by people, or by a key file.
func (b *pid1) sparesTPM() bool { return b.plan != nil && b.plan.SparesTPM() }

// latchOff goes on without the TPM if something else can open all that the
// boot needs; the recovery key is for just that. It never does so after a
// kexec, or when the TPM has helped to open a volume in this boot: what
// the disk runs could then be granted the key again.
func (b *pid1) latchOff(code, text string) error {
	granted := slices.ContainsFunc(b.opened, func(r wire.Record) bool { return plan.UsesTPM(r.Text) })
	if !b.sparesTPM() || granted || b.capping || code == codes.PCR15Used {
		if codes.Means(code).Class != codes.Final {
			return &StepError{"latch", codes.Latch, fmt.Errorf("%s: %s", code, text)}
		}
		return &StepError{"latch", code, fmt.Errorf("%s", text)}
	}

	l := b.latch
	l.off, l.orders, l.pending, l.again = code, nil, nil, nil
	if l.child != nil {
		l.child.Kill()
		l.abandon()
	}
	b.sys.Log(Human, fmt.Sprintf("the TPM is not used in this boot: %s: %s", code, text))
	b.worker.entered(code, text)
	return nil
}
