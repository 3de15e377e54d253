package worker

import (
	"context"
	"iter"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/unlock/source"
	"latchkey/unlock/source/prompt"
)

// sources are all that a plan may name. Nothing else here knows of a kind.
func (w *worker) sources(n *network, id *identity, o *openings) map[string]source.Source {
	people := &prompt.Prompt{Console: w.sys.Console, Turn: prompt.NewTurn(), Log: w.log}
	all := map[string]source.Source{
		plan.SourceKMS:      &keyServer{worker: w, network: n, identity: id},
		plan.SourceClevis:   w.clevis(n),
		plan.SourceSystemd:  w.cryptenroll(o, people),
		plan.SourceTalosKMS: w.talosKMS(n), plan.SourceTalosTPM: w.talosTPM(), plan.SourceTalosNode: w.talosNode(),
		plan.SourcePrompt: people, plan.SourcePush: pushed{},
	}
	all[plan.SourceKairos] = lacking{}
	if kairos := w.sys.Kairos(); kairos != nil {
		all[plan.SourceKairos] = kairos(w, n)
	}
	for _, f := range w.plan.KeyFiles {
		all[f.Name] = w.keyFile(f)
	}
	return all
}

// A pushed source has nothing itself: the key server's answers carry what a
// person pushes, and asking.granted looks whether a volume lists it.
type pushed struct{}

// Run implements source.Source.
func (pushed) Run(context.Context, source.Opener) error { return source.ErrNotMine }

// A lacking source is one that this init does not have. Image build puts no
// such init beside a plan that lists it.
type lacking struct{}

// Run implements source.Source.
func (lacking) Run(context.Context, source.Opener) error {
	return codes.Fail(codes.PlanInvalid, "this init has no source %s: build the image again, with latchkey-init-tls", plan.SourceKairos)
}

// A renewer is a source that has something to do for the volumes that it
// opened: before the latch, and while PID 1 goes on.
type renewer interface {
	renew(ctx context.Context, o *openings)
	report(ctx context.Context, o *openings)
	wipe() // its secrets
}

func (o *openings) renewers() iter.Seq[renewer] {
	return func(yield func(renewer) bool) {
		for _, r := range o.runs {
			if s, ok := r.source.(renewer); ok && !yield(s) {
				return
			}
		}
	}
}

func (o *openings) renew(ctx context.Context) {
	for r := range o.renewers() {
		r.renew(ctx, o)
	}
}

func (o *openings) report(ctx context.Context) {
	for r := range o.renewers() {
		r.report(ctx, o)
	}
}

// optionalTries is how long volumes with nofail are waited for, with all
// others open, while a source is still at work for them: the network and a
// key server take a few seconds, the TPM and a key file none.
const optionalTries = 10 * time.Second

// open opens the volumes with what their sources yield, until every volume
// that the boot cannot do without is open, and the others had their time. It
// fails when one that is needed has no source left. Offers are tried one at a time; meanwhile sources begin and
// end as they would.
func (w *worker) open(ctx context.Context, n *network, identity *identity, disks []*disk) (*openings, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := w.newOpenings(disks)
	o.run(w.sources(n, identity, o))
	offers, ended := make(chan *offer), make(chan *run)
	var tried chan struct{} // closed when the offer under way has been; nil if none is
	var patience <-chan time.Time
	late := false
	for {
		if tried == nil && o.enough() {
			if late || !o.hopeful() {
				w.leaveClosed(o)
				return o, nil
			}
			if patience == nil {
				patience = time.After(optionalTries)
			}
		}
		if err := o.hopeless(); err != nil && tried == nil {
			o.wipe()
			return nil, err
		}

		next, stop := o.beginDue(ctx, offers, ended)
		taking := offers
		if tried != nil {
			taking = nil
		}
		select {
		case of := <-taking:
			tried = make(chan struct{})
			go func(done chan<- struct{}) {
				defer close(done)
				w.take(ctx, o, of)
			}(tried)
		case <-tried:
			tried = nil
		case r := <-ended:
			o.lose(r)
		case <-next:
		case <-patience:
			late = true
		case <-ctx.Done():
			if tried != nil {
				<-tried
			}
			o.wipe()
			return nil, ctx.Err()
		}
		stop()
	}
}

// An offer is a source's, on its way to be tried.
type offer struct {
	source.Offer
	run     *run
	outcome chan<- []error
}

// take has an offer tried. What is open already stays as it is.
func (w *worker) take(ctx context.Context, o *openings, of *offer) {
	if of.Taken != nil {
		of.Taken()
	}
	var tries []try
	for _, k := range of.Keys {
		if v := o.of(k.Volume); !v.open {
			tries = append(tries, try{k, v, of.run.name, of.run.name})
		}
	}
	w.openAll(ctx, o, tries)
	errs := make([]error, len(of.Keys))
	for i, k := range of.Keys {
		if v := o.of(k.Volume); !v.open && v.err != errKept {
			errs[i] = v.err
		}
	}
	of.outcome <- errs
}

// leaveClosed tells of the volumes that the boot goes on without.
func (w *worker) leaveClosed(o *openings) {
	for _, v := range o.all {
		if v.open {
			continue
		}
		err := v.err
		if err == nil {
			err = codes.Fail("left-closed", "volume %s: nothing has opened it by now", v.disk.Name)
		}
		w.leftClosed(v.disk.Name, err)
	}
}
