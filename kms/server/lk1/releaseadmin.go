package lk1

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
)

// A ReleaseView is a release as the operator sees it.
type ReleaseView struct {
	release.Release
	Covers   string   `json:"covers"`             // the PCRs that it says something of
	Progress []string `json:"progress,omitempty"` // of its rolls, in the same order
	Hidden   bool     `json:"hidden,omitempty"`   // kms.yaml has one of this name, which counts
	Bound    int      `json:"bound"`              // approved machines that must boot it, or one of several
	Booted   int      `json:"booted"`             // approved machines that booted it when they last got their keys
}

// Releases lists the ledger's releases.
func (s *Service) Releases() (list []ReleaseView, err error) {
	err = s.read(func(v view) error {
		stored, err := v.stored()
		if err != nil {
			return err
		}
		for _, r := range stored {
			list = append(list, v.presentRelease(r))
		}
		return v.s.rows.fleet.Known(v.View, func(row nodeRow) error {
			for i := range list {
				list[i].count(&row, s.settings(&row))
			}
			return nil
		})
	})
	return list, err
}

// Release shows one.
func (s *Service) Release(name string) (out ReleaseView, err error) {
	list, err := s.Releases()
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(list, func(r ReleaseView) bool { return r.Name == name })
	if i < 0 {
		return out, fmt.Errorf("looking for release %.70q: %w", name, ledger.ErrNotFound)
	}
	return list[i], nil
}

func (v view) presentRelease(r release.Release) ReleaseView {
	out := ReleaseView{Release: r, Covers: r.Covers()}
	_, out.Hidden = v.s.book.Rules().Releases[r.Name]
	out.Rolls = slices.Clone(r.Rolls)
	for i := range out.Rolls {
		out.Rolls[i].Step(v.s.ledger.Wall()) // what is due is due, whether it was written down or not
		out.Progress = append(out.Progress, out.Rolls[i].Group+": "+out.Rolls[i].Progress())
	}
	return out
}

func (r *ReleaseView) count(row *nodeRow, s policy.Settings) {
	if row.State != fleet.Approved {
		return
	}
	if slices.Contains(s.Releases, r.Name) {
		r.Bound++
	}
	if row.Release == r.Name {
		r.Booted++
	}
}

// AddRelease adds one.
func (s *Service) AddRelease(ctx context.Context, n release.New) (ReleaseView, error) {
	r, err := n.Release(s.ledger.Wall())
	if err != nil {
		return ReleaseView{}, fmt.Errorf("adding release %.70s: %w: %w", n.Name, ledger.ErrRefused, err)
	}
	if _, twice := s.book.Rules().Releases[r.Name]; twice {
		return ReleaseView{}, fmt.Errorf("adding release %s: %w: kms.yaml has one of that name", r.Name, ledger.ErrRefused)
	}
	err = s.update(ctx, func(t *txn) error {
		if _, err := t.s.rows.releases.Get(t.view.View, r.Name); err == nil {
			return fmt.Errorf("adding release %s: %w: there is one of that name", r.Name, ledger.ErrRefused)
		}
		others, err := t.stored()
		if err != nil {
			return err
		}
		for _, other := range others { // retiring one of two names would take nothing back
			if other.Retired.IsZero() && len(r.PCRs) > 0 && maps.Equal(other.PCRs, r.PCRs) {
				return fmt.Errorf("adding release %s: %w: it has the values of release %s", r.Name, ledger.ErrRefused, other.Name)
			}
		}
		if err := t.saveRelease(r); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "release add", From: ledger.Who(ctx), Detail: r.Name + ": " + r.Covers()})
	})
	if err != nil {
		return ReleaseView{}, err
	}
	return s.Release(r.Name)
}

// changeRelease changes one and notes it.
func (s *Service) changeRelease(ctx context.Context, verb, name string, change func(*txn, *release.Release) (detail string, err error)) (ReleaseView, error) {
	err := s.update(ctx, func(t *txn) error {
		r, err := t.s.rows.releases.Get(t.view.View, name)
		if err != nil {
			return err
		}
		r.Rolls = slices.Clone(r.Rolls)
		detail, err := change(t, &r)
		if err != nil {
			return fmt.Errorf("%s of release %s: %w", verb, name, err)
		}
		if err := t.saveRelease(r); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "release " + verb, From: ledger.Who(ctx), Detail: name + detail})
	})
	if err != nil {
		return ReleaseView{}, err
	}
	return s.Release(name)
}

// RetireRelease takes a release back: no machine may boot it any more.
func (s *Service) RetireRelease(ctx context.Context, name string) (ReleaseView, error) {
	return s.changeRelease(ctx, "retire", name, func(_ *txn, r *release.Release) (string, error) {
		if !r.Retired.IsZero() {
			return "", fleet.Refuse("it is retired")
		}
		r.Retired = s.ledger.Wall().UTC()
		return "", nil
	})
}

// RemoveRelease forgets a release that is retired. What booted it is then as
// unknown as any other boot.
func (s *Service) RemoveRelease(ctx context.Context, name string) error {
	return s.update(ctx, func(t *txn) error {
		r, err := t.s.rows.releases.Get(t.view.View, name)
		if err != nil {
			return err
		}
		if r.Retired.IsZero() {
			return fmt.Errorf("removing release %s: %w: retire it first", name, ledger.ErrRefused)
		}
		t.Bump()
		t.kept.read = false
		if err := t.s.rows.releases.Remove(t.Txn, name); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "release remove", From: ledger.Who(ctx), Detail: name})
	})
}

// RollRelease begins to move a group of machines to a release. The machines
// are counted before the transaction, which reads no table as a whole.
func (s *Service) RollRelease(ctx context.Context, name string, o release.Options) (ReleaseView, error) {
	if key, value, err := policy.ParseLabel(o.Group); err != nil || value == "" {
		return ReleaseView{}, fmt.Errorf("rolling release %.70s: %w: group %.60q: want a label, as in site=berlin", name, ledger.ErrRefused, key)
	}
	places, outside, err := s.members(name, o)
	if err != nil {
		return ReleaseView{}, err
	}
	if o.Retire == name {
		return ReleaseView{}, fmt.Errorf("rolling release %.70s: %w: it cannot replace itself", name, ledger.ErrRefused)
	}
	if outside > 0 {
		return ReleaseView{}, fmt.Errorf("rolling release %.70s: %w: %d machines outside of %s may boot only %s: retire it when they are moved", name, ledger.ErrRefused, outside, o.Group, o.Retire)
	}
	return s.changeRelease(ctx, "roll", name, func(t *txn, r *release.Release) (string, error) {
		if !r.Retired.IsZero() {
			return "", fleet.Refuse("it is retired")
		}
		if old := r.Roll(o.Group); old != nil {
			return "", fleet.Refuse("it has a roll for " + o.Group + ": " + old.Progress() + "; see --resume and --stop")
		}
		stored, err := t.stored()
		if err != nil {
			return "", err
		}
		for _, other := range stored {
			if roll := other.Roll(o.Group); roll != nil && roll.State == release.Rolling {
				return "", fleet.Refuse(fmt.Sprintf("%s is moved to release %s just now: wait, or stop that", o.Group, other.Name))
			}
		}
		roll, err := release.NewRoll(o, places, s.ledger.Wall())
		if err != nil {
			return "", fleet.Refuse(err.Error())
		}
		r.Rolls = append(r.Rolls, roll)
		return fmt.Sprintf(", %s: wave 1 of %d: %d machines may boot it", o.Group, len(roll.Waves), roll.Waves[0].Size), nil
	})
}

// members are the places of a group's machines, and how many others there
// are that a release's retirement would shut out.
func (s *Service) members(name string, o release.Options) (places []uint64, outside int, err error) {
	err = s.read(func(v view) error {
		return s.rows.fleet.Known(v.View, func(row nodeRow) error {
			switch {
			case row.State != fleet.Approved:
			case row.in(o.Group):
				places = append(places, release.Place(name, row.ID[:]))
			case o.Retire != "" && (row.Release == o.Retire || slices.Contains(s.settings(&row).Releases, o.Retire)):
				outside++
			}
			return nil
		})
	})
	return places, outside, err
}

// StopRoll ends a roll; ResumeRoll goes on with one that was stopped.
func (s *Service) StopRoll(ctx context.Context, name, group string) (ReleaseView, error) {
	return s.changeRoll(ctx, "stop", name, group, func(r *release.Roll, _ time.Time) error { return r.Stop("by " + ledger.Who(ctx)) })
}

// ResumeRoll goes on with a roll that was stopped.
func (s *Service) ResumeRoll(ctx context.Context, name, group string) (ReleaseView, error) {
	return s.changeRoll(ctx, "resume", name, group, (*release.Roll).Resume)
}

func (s *Service) changeRoll(ctx context.Context, verb, name, group string, change func(*release.Roll, time.Time) error) (ReleaseView, error) {
	return s.changeRelease(ctx, verb, name, func(_ *txn, r *release.Release) (string, error) {
		roll := r.Roll(group)
		if roll == nil {
			return "", fmt.Errorf("roll for %.60q: %w", group, ledger.ErrNotFound)
		}
		now := s.ledger.Wall()
		roll.Step(now)
		if err := change(roll, now); err != nil {
			return "", fleet.Refuse(err.Error())
		}
		return ", " + group, nil
	})
}
