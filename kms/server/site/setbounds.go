package site

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// check fills in what follows from the rest, and says what is no bound.
func (b *Bounds) check() error {
	if b.InAll == 0 {
		b.InAll = min(b.Releases*b.Machines, maxGiven)
	}
	switch {
	case b.Offline <= 0 || time.Duration(b.Offline) > maxOffline:
		return fmt.Errorf("for how long its server may go on by itself must be up to 30d, not %s", b.Offline)
	case b.Releases < 1 || b.Machines < 1 || b.InAll < 1 || max(b.Releases, b.Machines, b.InAll) > maxGiven:
		return fmt.Errorf("releases, machines and in-all must be 1 to %d", maxGiven)
	}
	return nil
}

// as fills in what is not said, from the bounds that there are.
func (b *Bounds) as(old Bounds) {
	if b.InAll == 0 && b.Releases == 0 && b.Machines == 0 { // else it follows from these
		b.InAll = old.InAll
	}
	b.Offline, b.Releases, b.Machines = cmp.Or(b.Offline, old.Offline), cmp.Or(b.Releases, old.Releases), cmp.Or(b.Machines, old.Machines)
}

// SetBounds gives a site other bounds, which its server goes by once it hears
// of them. What is zero stays as it was.
func (c *Center) SetBounds(ctx context.Context, name string, b Bounds) (s Site, err error) {
	if !admin.Here(ctx) {
		return s, fmt.Errorf("setting site %.64q: %w: it says how much a box gives of keys that others approved, so it is done on the key server's host", name, ledger.ErrRefused)
	}
	err = c.ledger.Update(ctx, func(t *ledger.Txn) error {
		var found bool
		if s, found, err = load(t.View, name); err != nil {
			return err
		}
		if !found || s.Removed {
			return fmt.Errorf("setting site %.64q: %w", name, ledger.ErrNotFound)
		}
		next := b
		next.as(s.Bounds)
		if err := next.check(); err != nil {
			return fmt.Errorf("setting site %s: %w", name, err)
		}
		if next == s.Bounds {
			return nil
		}
		t.Bump()
		s.Bounds = next
		if err := save(t, s); err != nil {
			return err
		}
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "site set", From: ledger.Who(ctx), Detail: fmt.Sprintf("%s, %s", name, text)})
	})
	return s, err
}
