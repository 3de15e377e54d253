package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/source"
)

// A run is one source at work. It is the source's Opener.
type run struct {
	name   string
	source source.Source
	o      *openings
	offers chan<- *offer
	begun  time.Time // zero: not yet
	err    error     // of its end
}

// run notes which of the sources that there are the volumes list.
func (o *openings) run(sources map[string]source.Source) {
	for _, v := range o.all {
		for _, name := range v.disk.planned.Sources {
			for _, member := range o.worker.plan.Members(name) {
				if o.find(member) == nil {
					o.runs = append(o.runs, &run{name: member, source: sources[member], o: o})
				}
			}
		}
	}
}

func (o *openings) find(name string) *run {
	for _, r := range o.runs {
		if r.name == name {
			return r
		}
	}
	return nil
}

// Closed implements source.Opener.
func (r *run) Closed() (all []*unlock.Volume) {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	for _, v := range r.o.all {
		if !v.open && r.o.lists(v, r.name) {
			all = append(all, &v.disk.Volume)
		}
	}
	return all
}

// Needed implements source.Opener.
func (r *run) Needed(v *unlock.Volume) bool {
	for _, n := range r.o.needed() {
		if &n.disk.Volume == v {
			return true
		}
	}
	return false
}

// Try implements source.Opener.
func (r *run) Try(ctx context.Context, o source.Offer) []error {
	now, later := r.o.locked(o)
	if len(later.Keys) == 0 {
		return r.offer(ctx, o)
	}
	found := map[*unlock.Volume]error{}
	for i, err := range r.offer(ctx, now) {
		found[now.Keys[i].Volume] = err
	}
	err := r.o.awaitStates(ctx, later)
	for i, k := range later.Keys {
		if found[k.Volume] = err; err == nil {
			found[k.Volume] = r.offer(ctx, source.Offer{Keys: later.Keys[i : i+1]})[0]
		}
	}
	errs := make([]error, len(o.Keys))
	for i, k := range o.Keys {
		errs[i] = found[k.Volume]
	}
	return errs
}

// offer has keys tried when their turn has come.
func (r *run) offer(ctx context.Context, o source.Offer) []error {
	outcome := make(chan []error, 1)
	select {
	case r.offers <- &offer{o, r, outcome}:
		return <-outcome
	case <-ctx.Done():
		errs := make([]error, len(o.Keys))
		for i := range errs {
			errs[i] = ctx.Err()
		}
		return errs
	}
}

// beginDue begins the sources whose time has come, and tells when the next
// one's will.
func (o *openings) beginDue(ctx context.Context, offers chan<- *offer, ended chan<- *run) (next <-chan time.Time, stop func()) {
	soonest := time.Duration(-1)
	for _, r := range o.runs {
		at, ok := o.due(r)
		if !ok || !r.begun.IsZero() {
			continue
		}
		if wait := time.Until(at); wait > 0 {
			if soonest < 0 || wait < soonest {
				soonest = wait
			}
			continue
		}

		r.begun, r.offers = time.Now(), offers
		go func() {
			r.err = r.source.Run(ctx, r)
			select {
			case ended <- r:
			case <-ctx.Done():
			}
		}()
	}
	if soonest < 0 {
		return nil, func() {}
	}
	t := time.NewTimer(soonest)
	return t.C, func() { t.Stop() }
}

// due tells when a source begins: as soon as, for a closed volume that lists
// it, each source before it is lost or has had its head start. ok is false
// as long as one of them has not begun.
func (o *openings) due(r *run) (at time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.all {
		if v.open || !o.lists(v, r.name) {
			continue
		}
		if t, begun := o.after(v, r); begun && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// after is due for one volume. The sources of a recipe begin together.
func (o *openings) after(v *opening, r *run) (at time.Time, ok bool) {
	for _, name := range v.disk.planned.Sources {
		members := o.worker.plan.Members(name)
		if o.lostAll(v, name) {
			continue
		}
		if slices.Contains(members, r.name) {
			return at, true
		}
		for _, m := range members {
			before := o.find(m)
			if before.begun.IsZero() {
				return at, false
			}
			if t := before.begun.Add(o.worker.plan.HeadStartOf(r.name)); t.After(at) {
				at = t
			}
		}
	}
	return at, false
}

// lose notes that a source has ended: it opens nothing any more.
func (o *openings) lose(r *run) {
	if r.err == nil {
		r.err = source.ErrNotMine
	}
	o.mu.Lock()
	for _, v := range o.all {
		if o.lists(v, r.name) && v.lost[r.name] == nil {
			v.lost[r.name] = r.err
		}
	}
	o.mu.Unlock()
	if !errors.Is(r.err, source.ErrNotMine) && o.hopeless() == nil && !o.enough() {
		o.worker.waiting(r.err) // another source may still open the volumes
	}
}

// hopeless is the error of a volume that is needed, closed, and without a
// source that could still open it; nil if there is none.
func (o *openings) hopeless() error {
	needed := o.needed()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range needed {
		if err := o.lostWhy(v); err != nil {
			return err
		}
	}
	return nil
}

// hopeful tells whether a source may still open a volume that is closed.
// People are not waited for.
func (o *openings) hopeful() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.all, func(v *opening) bool {
		return !v.open && slices.ContainsFunc(v.disk.planned.Sources, func(name string) bool {
			return name != plan.SourcePrompt && !o.lostAll(v, name)
		})
	})
}
