package site

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
)

// answered says that the center was heard.
func (f *Follower) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wire == wireCut {
		f.wire = wireBack
		f.log.Info("the center answers again")
	}
	f.said = ""
}

// cutOff says that the center did not answer.
func (f *Follower) cutOff(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wire != wireCut {
		f.log.Warn("the center does not answer: this site's server goes on by itself, within its bounds", "err", err)
	}
	f.wire = wireCut
	if f.client != nil {
		f.client.CloseIdleConnections()
	}
	f.center++
}

// failed notes a round that failed.
func (f *Follower) failed(ctx context.Context, err error) {
	if _, cut := errors.AsType[*cutOff](err); cut {
		f.cutOff(err)
		f.writeDown(ctx, func(t *ledger.Txn) error {
			c, err := loadCut(t.View)
			if err != nil || !f.age.of(&c, f.ledger.Wall()) {
				return err
			}
			return t.Save(tableSelf, keyCut, c)
		})
		return
	}
	f.mu.Lock()
	known := f.said == err.Error()
	f.said = err.Error()
	if f.wire == wireUp {
		f.wire = wireBack
	}
	f.mu.Unlock()
	if !known {
		f.log.Error("following the center", "err", err)
	}
	if errors.Is(err, errRefused) {
		f.refuse(ctx, err)
	}
}

// writeDown writes how it stands, not more often than every markEvery.
func (f *Follower) writeDown(ctx context.Context, do func(*ledger.Txn) error) {
	f.mu.Lock()
	due := time.Since(f.wrote) >= markEvery
	if due {
		f.wrote = time.Now()
	}
	f.mu.Unlock()
	if !due {
		return
	}
	if err := f.ledger.Update(ctx, do); err != nil {
		f.log.Error("writing down when the center was heard", "err", err)
	}
}

// idle tells whether an answer says only that nothing is new, and that was
// written down lately.
func (f *Follower) idle(self Self, said *report, a answer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.merged = &a.Merged
	idle := f.wire == wireUp && time.Since(f.wrote) < heardWrite && a.All == said.All && a.Merged == said.End &&
		self.Bounds == a.Bounds && slices.Equal(self.Pins, a.Pins)
	if idle {
		f.age.renew()
	} else {
		f.wrote = time.Now()
	}
	return idle
}

// take takes what the center said.
func (f *Follower) take(ctx context.Context, self Self, said *report, a answer) error {
	if f.idle(self, said, a) {
		return nil
	}
	defer func() {
		for _, one := range a.Changed {
			clear(one.Copy)
		}
	}()
	current := false
	err := f.ledger.Update(ctx, func(t *ledger.Txn) error {
		current = false
		if err := f.takeSelf(t, a); err != nil {
			return err
		}
		end, err := t.View.ChainEnd()
		if err != nil {
			return err
		}
		if err := f.takeCopies(t, a, end != a.Merged); err != nil {
			return err
		}
		have, err := haves(t.View)
		if err != nil {
			return err
		}
		if current = end == a.Merged && markAll(have) == a.All; !current {
			return nil
		}
		return f.renew(t)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wire = wireBack
	if current {
		f.wire = wireUp
		f.age.renew()
	}
	return nil
}

// takeSelf takes what the center says of the site.
func (f *Follower) takeSelf(t *ledger.Txn, a answer) error {
	self, _, err := SelfOf(t.View)
	if err != nil {
		return err
	}
	if _, err := pinsOf(a.Pins); err != nil || len(a.Pins) == 0 {
		return cmpErr(err, errors.New("the center says no keys"))
	}
	self.Bounds, self.Pins, self.Refused = a.Bounds, a.Pins, ""
	return t.Save(tableSelf, keySelf, self)
}

// takeCopies has what is gone first: nobody else's order counts for that.
func (f *Follower) takeCopies(t *ledger.Txn, a answer, keep bool) error {
	for _, id := range a.Gone {
		if err := f.nodes.DropCopy(t, id); err != nil {
			return err
		}
		if err := t.Remove(tableSelf, keyOf(prefixHave, id)); err != nil {
			return err
		}
	}
	for _, one := range a.Changed {
		if err := f.nodes.TakeCopy(t, one.Node, secret.Own(one.Copy), keep); err != nil {
			return err
		}
		if err := t.Put(tableSelf, keyOf(prefixHave, one.Node), one.Mark[:]); err != nil {
			return err
		}
	}
	return nil
}

// refuse keeps that the center refuses this server: it gives nothing when it
// is cut off later.
func (f *Follower) refuse(ctx context.Context, why error) {
	err := f.ledger.Update(ctx, func(t *ledger.Txn) error {
		self, _, err := SelfOf(t.View)
		if err != nil || self.Refused == why.Error() {
			return err
		}
		self.Refused = why.Error()
		return t.Save(tableSelf, keySelf, self)
	})
	if err != nil {
		f.log.Error("writing down that the center refuses this server", "err", err)
	}
}

// wipe destroys all copies: this is no site's server any more.
func (f *Follower) wipe(ctx context.Context) error {
	err := f.ledger.Update(ctx, func(t *ledger.Txn) error {
		self, _, err := SelfOf(t.View)
		if err != nil {
			return err
		}
		self.Removed, self.Token = true, ""
		t.Bump()
		if err := t.Save(tableSelf, keySelf, self); err != nil {
			return err
		}
		for _, id := range keysOf(t.View, prefixHave) {
			if err := f.nodes.DropCopy(t, id); err != nil {
				return err
			}
			if err := t.Remove(tableSelf, keyOf(prefixHave, id)); err != nil {
				return err
			}
		}
		return t.Note(ledger.Event{Event: "site wiped", Detail: self.Name})
	})
	if err != nil {
		return err
	}
	return errGone
}
