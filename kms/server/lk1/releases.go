package lk1

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
	"latchkey/kms/server/release"
)

// kept are the ledger's releases, as a transaction sees them.
type kept struct {
	read bool
	all  []release.Release

	sights map[kms.NodeID]presence.Sight // of all, where many are listed
}

// stored reads the ledger's releases once for each transaction.
func (v view) stored() ([]release.Release, error) {
	if v.kept.read {
		return v.kept.all, nil
	}
	all, err := v.s.rows.releases.All(v.View)
	if err == nil {
		v.kept.read, v.kept.all = true, all
		v.s.chains.Store(slices.ContainsFunc(all, func(r release.Release) bool { return r.Chain != nil }))
	}
	return all, err
}

// selection are the PCRs to be quoted. Which the ledger's releases need is
// known from whoever read them last, as a challenge reads no record: after
// another replica added one, a machine is asked for them the second time.
func (s *Service) selection() []int {
	if pinned := s.pinned.Load(); pinned != nil {
		return s.book.Rules().Selection(*pinned...)
	}
	if s.chains.Load() {
		return s.book.Rules().Selection(policy.ChainPCRs...)
	}
	return s.book.Rules().Selection()
}

// saveRelease keeps a release, for the rest of the transaction, too.
func (t *txn) saveRelease(r release.Release) error {
	t.Bump()
	t.kept.read = false
	return t.s.rows.releases.Put(t.Txn, r)
}

// releases are all that there are. One of the configuration goes before the
// ledger's of the same name: a decision must always be made, and the file is
// what its administrator wrote last. Adding such a one is refused.
func (v view) releases() (map[string]policy.Release, error) {
	configured := v.s.book.Rules().Releases
	stored, err := v.stored()
	if err != nil || len(stored) == 0 {
		return configured, err
	}
	all := make(map[string]policy.Release, len(configured)+len(stored))
	for _, r := range stored {
		all[r.Name] = r.Policy()
	}
	maps.Copy(all, configured)
	return all, nil
}

// facts are those of the service, with the ledger's releases.
func (v view) facts(p *proof, row *nodeRow, now time.Time) (f policy.Facts, err error) {
	f = v.s.facts(p, row, now)
	f.From = v.placeOf(p.from, row)
	if err = v.presence(&f, row); err != nil {
		return f, err
	}
	if f.Releases, err = v.releases(); err != nil {
		return f, err
	}
	stored, err := v.stored()
	for _, r := range stored {
		if row.mayBoot(r, now) {
			f.Rolled = append(f.Rolled, r.Name)
		}
	}
	return f, err
}

// mayBoot tells whether a roll lets the node boot a release: its wave is
// open, or it has booted it before. A roll that was stopped takes it from no
// machine that may have nothing else.
func (row *nodeRow) mayBoot(r release.Release, now time.Time) bool {
	if row.Rolled != nil && row.Rolled.Release == r.Name {
		return true
	}
	for _, roll := range r.Rolls {
		roll.Step(now) // what is due is due, whether it was written down or not
		if row.in(roll.Group) && roll.Admits(release.Place(r.Name, row.ID[:])) {
			return true
		}
	}
	return false
}

// in tells whether the node has a label.
func (row *nodeRow) in(label string) bool {
	key, value, err := policy.ParseLabel(label)
	if err != nil {
		return false
	}
	has, ok := row.Labels[key]
	return ok && has == value
}

// bindRelease binds a node that is approved to a release: the one that is
// named, or the one that it booted, if nothing says which it may boot.
func (t *txn) bindRelease(row *nodeRow, name string) error {
	all, err := t.releases()
	if err != nil {
		return err
	}
	if name != "" {
		r, ok := all[name]
		switch {
		case !ok:
			return fleet.Refuse(fmt.Sprintf("there is no release %.70q: see release list", name))
		case !r.Retired.IsZero():
			return fleet.Refuse(fmt.Sprintf("release %s is retired", name))
		}
		row.Settings.Releases = []string{name}
		return nil
	}

	if len(t.s.settings(row).Releases) > 0 || row.Shown == nil || !row.Shown.Boot {
		return nil
	}
	f, err := t.facts(Question{}.proof(*row), row, time.Now())
	if known := f.Known(); err == nil && known != "" {
		row.Settings.Releases = []string{known}
	}
	return err
}
