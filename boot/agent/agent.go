// Package agent gives keys to an early boot that is not ours: that of
// initramfs-tools, dracut or mkinitcpio. It runs the worker of our own init,
// which finds disks and asks the plan's sources, but maps nothing: it keeps
// what opens the volumes, closes the TPM behind it, and only then answers
// whoever opens them.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/latch"
	"latchkey/boot/worker"
	"latchkey/internal/kmsg"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
)

// System is what the agent asks of the machine: Kernel, or a machine in
// memory.
type System interface {
	worker.System
	// Chip is the TPM as it is measured into.
	Chip() latch.System
	// Phased tells whether somebody else measures the phases of this boot into
	// PCR 11: systemd-pcrphase(8).
	Phased() bool
}

// closeWait is how long the TPM may take to be closed.
const closeWait = time.Minute

// grace is how long the worker may take to report and to leave the links as
// it found them, when all is fetched.
const grace = 2 * time.Second

// An Agent fetches once, latches, and answers.
type Agent struct {
	sys   System
	log   *slog.Logger
	plan  *plan.Plan
	keys  *keys
	end   context.CancelFunc // the early boot is over
	done  chan struct{}      // closed when no key is left
	tpm   latch.TPM          // nil: there is none, or it is closed
	noTPM error              // why it is not used
	// refused tells that volumes of the plan are left out, and who asks for them
	// is to be told why.
	refused bool
	phased  bool
	opened  map[string]opened // by volume
	said    string            // the last line that people were shown
	worker  chan struct{}     // closed when the worker that has fetched is gone
}

// opened is how a volume came to be open.
type opened struct {
	measure pcr.Digests
	source  string
}

// New reads the plan. Its error is for people: the agent is of no use then.
func New(sys System) (*Agent, error) {
	p, _, err := sys.Plan()
	if err != nil {
		return nil, err
	}
	if err := others(p); err != nil {
		return nil, err
	}
	return &Agent{sys: sys, log: sys.Log(), plan: p, keys: newKeys(p, sys), done: make(chan struct{}), opened: map[string]opened{}}, nil
}

// others makes a plan one for others' early boot. Their prompt is the source
// prompt.
func others(p *plan.Plan) error {
	for i := range p.Volumes {
		p.Volumes[i].Sources = slices.DeleteFunc(slices.Clone(p.Volumes[i].Sources), func(s string) bool { return s == plan.SourcePrompt })
	}
	p.Systemd.PIN = false // the console is theirs
	p.Volumes = slices.DeleteFunc(p.Volumes, func(v plan.Volume) bool { return len(v.Sources) == 0 })
	switch {
	case len(p.Volumes) == 0:
		return codes.Fail(codes.PlanInvalid, "no volume of the plan has a source besides prompt: nothing is to be fetched")
	case p.NeedsState():
		return codes.Fail(codes.PlanInvalid, "a volume has lock-to-state, whose salt is in another volume: only latchkey's own init opens it")
	}
	return nil
}

// Run fetches the keys of all volumes and closes the TPM; then keys are given
// out, until all are or ctx ends. No key is left when it returns, and nobody
// gets another one in this boot.
func (a *Agent) Run(ctx context.Context) error {
	ctx, a.end = context.WithCancel(ctx)
	defer a.end()
	defer close(a.done)
	defer a.keys.wipe()
	failure := a.enter(ctx)
	if failure == nil {
		failure = a.fetch(ctx)
	}
	if err := a.close(ctx); err != nil {
		a.keys.wipe()
		failure = err
	}
	a.settle(ctx, failure)

	given := a.keys.given
	if failure != nil || a.refused {
		given = nil // who asks is told why
	}
	select {
	case <-given:
	case <-ctx.Done():
	}
	if a.worker != nil {
		select {
		case <-a.worker:
		case <-time.After(grace):
		}
	}
	return failure
}

// settle lets those who wait have their answers, or tells them why there is
// none.
func (a *Agent) settle(ctx context.Context, failure error) {
	if ctx.Err() != nil {
		a.keys.wipe()
		failure = errOver
	} else if failure != nil {
		a.say(failure)
	}
	a.keys.settle(failure)
}

// errOver is the answer to who asks too late.
var errOver = errors.New("the early boot is over: no keys are given any more")

// say shows people a line with its code and what they can do, each once.
func (a *Agent) say(err error) {
	code := codes.Of(err)
	line := fmt.Sprintf("%s: %v", code, err)
	advice := codes.Means(code).Advice
	if code == codes.PCR15Used {
		advice = usedAdvice
	}
	if advice != "" {
		line += " (" + advice + ")"
	}
	if line != a.said {
		a.said = line
		a.human(line)
	}
}

// usedAdvice takes the place of the init's, which reboots: the agent does not.
const usedAdvice = "the key server and the TPM give their keys once in a boot: type a passphrase, or reboot the machine"

func (a *Agent) human(line string) { a.log.Log(context.Background(), kmsg.Human, line) }
