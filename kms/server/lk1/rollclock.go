package lk1

import (
	"context"
	"slices"
	"time"

	"latchkey/kms/server/release"
)

// rollEvery is how often rolls are looked after when nobody asks. A wave has
// a minute at least.
const rollEvery = time.Minute

// WatchRolls does what is due in rolls until ctx ends: a machine that does not
// come back asks nothing, and a roll that waits for it must stop all the same.
// Of several replicas one writes it; the others find it done.
func (s *Service) WatchRolls(ctx context.Context) {
	tick := time.NewTicker(rollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !s.rollsDue() {
			continue
		}
		err := s.update(ctx, func(t *txn) error {
			return t.stepRolls(func(string) bool { return true }, s.ledger.Wall().UTC())
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("what is due in a roll could not be written; it is tried again in a minute", "err", err)
		}
	}
}

// rollsDue tells, without writing, whether a roll has something to do. What
// cannot be read is said by who needs it.
func (s *Service) rollsDue() (due bool) {
	_ = s.read(func(v view) error {
		stored, err := v.stored()
		due = err == nil && slices.ContainsFunc(stored, func(r release.Release) bool {
			return slices.ContainsFunc(r.Rolls, func(roll release.Roll) bool { return roll.Step(s.ledger.Wall()) != "" })
		})
		return err
	})
	return due
}
