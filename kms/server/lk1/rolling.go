package lk1

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
)

// rolled is how a node fares with the release that its group is moved to.
type rolled struct {
	Release string    `json:"release"`
	Group   string    `json:"group"`
	Boot    clock     `json:"boot"` // in which it first got its keys with it
	Since   time.Time `json:"since"`
	Came    bool      `json:"came,omitempty"`   // it opened its volumes
	Failed  bool      `json:"failed,omitempty"` // it booted again without that, or went back
}

// track notes what a node announced and which release it booted, and takes
// that into account where its group is moved.
func (t *txn) track(p *proof, row *nodeRow, f policy.Facts, status kms.Status, now time.Time) error {
	if err := t.announce(p, row, f, status); err != nil {
		return err
	}
	if err := t.stepRolls(row.in, now); err != nil {
		return err
	}
	if status != kms.OK || p.operation != kms.Get {
		return nil
	}

	row.Release = f.BootedRelease()
	before := row.Rolled
	switch {
	case before != nil && before.Release == row.Release && (before.Came || before.Failed || before.Boot == p.clock):
		return nil
	case before != nil && before.Release == row.Release:
		return t.failed(row, fmt.Sprintf("%s booted it again and had not opened its volumes", row.ID.Words()), now)
	case before != nil && !before.Failed && t.rolls(before):
		return t.failed(row, row.ID.Words()+" went back to "+cmp.Or(row.Release, "what was approved"), now)
	}

	for _, name := range f.Rolled {
		if name != row.Release {
			continue
		}
		r, err := t.s.rows.releases.Get(t.view.View, name)
		if err != nil {
			return err
		}
		for _, roll := range r.Rolls {
			if row.in(roll.Group) {
				row.Rolled = &rolled{Release: name, Group: roll.Group, Boot: p.clock, Since: now}
				return nil
			}
		}
	}
	return nil
}

// rolls tells whether the roll that a node took part in goes on.
func (v view) rolls(of *rolled) bool {
	r, err := v.s.rows.releases.Get(v.View, of.Release)
	if err != nil {
		return false
	}
	roll := r.Roll(of.Group)
	return roll != nil && roll.State == release.Rolling
}

// failed counts a node that did not come back.
func (t *txn) failed(row *nodeRow, why string, now time.Time) error {
	of := *row.Rolled
	of.Failed = true
	row.Rolled = &of
	return t.countRoll(of, now, func(r *release.Roll) { r.Failed++ }, ledger.Event{Event: "release failed", Node: row.ID.String(), Detail: of.Release + ": " + why})
}

// comesBack tells whether a report is the first after the node booted the
// release that its group is moved to.
func (row *nodeRow) comesBack(results []kms.Result) bool {
	return row.Rolled != nil && !row.Rolled.Came && slices.ContainsFunc(results, func(r kms.Result) bool { return r.Outcome != kms.NotOpened })
}

// cameBack counts a node that opened its volumes.
func (t *txn) cameBack(row *nodeRow, results []kms.Result) error {
	if !row.comesBack(results) {
		return nil
	}
	of := *row.Rolled
	of.Came = true
	row.Rolled = &of
	if err := t.saveNode(*row); err != nil {
		return err
	}
	return t.countRoll(of, t.s.ledger.Wall().UTC(), func(r *release.Roll) { r.Came++ }, ledger.Event{Event: "release came", Node: row.ID.String(), Detail: of.Release})
}

// countRoll changes a roll's counters, and does what follows.
func (t *txn) countRoll(of rolled, now time.Time, count func(*release.Roll), e ledger.Event) error {
	r, err := t.s.rows.releases.Get(t.view.View, of.Release)
	if err != nil {
		return nil // removed meanwhile
	}
	roll := r.Roll(of.Group)
	if roll == nil {
		return nil
	}
	count(roll)
	if err := t.Note(e); err != nil {
		return err
	}
	if err := t.stepped(&r, roll, now); err != nil {
		return err
	}
	return t.saveRelease(r)
}

// stepRolls does what is due in the rolls of some groups.
func (t *txn) stepRolls(in func(group string) bool, now time.Time) error {
	stored, err := t.stored()
	if err != nil {
		return err
	}
	for _, r := range stored {
		changed := false
		r.Rolls = slices.Clone(r.Rolls)
		for i := range r.Rolls {
			if before := r.Rolls[i].State; before == release.Rolling && in(r.Rolls[i].Group) {
				wave := r.Rolls[i].Wave
				if err := t.stepped(&r, &r.Rolls[i], now); err != nil {
					return err
				}
				changed = changed || r.Rolls[i].State != before || r.Rolls[i].Wave != wave
			}
		}
		if changed {
			if err := t.saveRelease(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// stepped does what is due in one roll, and notes it. When all came back,
// the release that was to be retired is.
func (t *txn) stepped(r *release.Release, roll *release.Roll, now time.Time) error {
	for did := roll.Step(now); did != ""; did = roll.Step(now) {
		event := map[release.State]string{release.Rolling: "release wave", release.Stopped: "release stopped", release.Done: "release done"}[roll.State]
		if err := t.Note(ledger.Event{Event: event, Detail: fmt.Sprintf("%s, %s: %s", r.Name, roll.Group, did)}); err != nil {
			return err
		}
		if roll.State == release.Done && roll.Retire != "" {
			if err := t.retire(roll.Retire, now, "its successor "+r.Name+" is everywhere in "+roll.Group); err != nil {
				return err
			}
		}
	}
	return nil
}

// retire takes a release back; one that is gone or retired is no failure.
func (t *txn) retire(name string, now time.Time, why string) error {
	r, err := t.s.rows.releases.Get(t.view.View, name)
	if err != nil || !r.Retired.IsZero() {
		return nil
	}
	r.Retired = now
	if err := t.saveRelease(r); err != nil {
		return err
	}
	return t.Note(ledger.Event{Event: "release retire", Detail: name + ": " + why})
}
