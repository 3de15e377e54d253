package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
)

// An answer is what a source yields: a grant, a typed line, or why it will
// yield no more.
type answer struct {
	source string
	grant  *grant
	line   secret.Bytes
	reply  chan<- string // what to tell the one who typed
	err    error
}

// open opens the volumes with what their sources yield, until every volume
// that the boot cannot do without is open. It fails when one of them has no
// source left.
func (w *worker) open(ctx context.Context, n *network, identity *identity, disks []*disk) (*openings, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := newOpenings(disks, identity)
	answers := make(chan answer)
	hurry := make(chan struct{}) // closed when a source is lost: the next one begins
	lost := map[string]error{}
	for name, run := range map[string]func(context.Context, chan<- answer) error{
		"kms":    func(ctx context.Context, to chan<- answer) error { return w.ask(ctx, n, o, to) },
		"prompt": w.prompt,
	} {
		if !slices.ContainsFunc(disks, func(d *disk) bool { return d.has(name) }) {
			continue
		}
		go func() {
			if err := o.begin(ctx, name, hurry); err != nil {
				return
			}
			if err := run(ctx, answers); err != nil {
				select {
				case answers <- answer{source: name, err: err}:
				case <-ctx.Done():
				}
			}
		}()
	}

	for {
		if o.enough() {
			w.leaveClosed(o)
			return o, nil
		}
		if err := o.hopeless(lost); err != nil {
			o.wipe()
			return nil, err
		}

		select {
		case a := <-answers:
			if err := w.take(ctx, o, a); err != nil {
				lost[a.source] = err
				if o.hopeless(lost) == nil {
					w.waiting(err) // another source may still open the volumes
				}
				if len(lost) == 1 {
					close(hurry)
				}
			}
		case <-ctx.Done():
			o.wipe()
			return nil, ctx.Err()
		}
	}
}

// take uses what a source yields. Its error means that the source opens
// nothing more.
func (w *worker) take(ctx context.Context, o *openings, a answer) error {
	switch {
	case a.err != nil:
		return a.err
	case a.grant != nil:
		return w.openGranted(ctx, o, a.grant)
	}
	a.reply <- w.openTyped(ctx, o, a.line)
	return nil
}

// begin waits until a source may begin: at once if a volume lists it
// first, else after the others' head start or when one of them is lost.
func (o *openings) begin(ctx context.Context, source string, hurry <-chan struct{}) error {
	if slices.ContainsFunc(o.all, func(v *opening) bool { return v.disk.planned.Sources[0] == source }) {
		return nil
	}
	select {
	case <-time.After(plan.HeadStart):
	case <-hurry:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// hopeless is the error of a volume that is needed, closed, and without a
// source that could still open it; nil if there is none.
func (o *openings) hopeless(lost map[string]error) error {
	for _, v := range o.needed() {
		var errs []error
		for _, s := range v.disk.planned.Sources {
			if lost[s] != nil {
				errs = append(errs, lost[s])
			}
		}
		if len(errs) == len(v.disk.planned.Sources) {
			return errors.Join(errs...)
		}
	}
	return nil
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
