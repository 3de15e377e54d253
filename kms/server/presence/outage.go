package presence

import (
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// state is when there was a server.
type state struct {
	Up      time.Time       `json:"up"`            // one was there
	Every   int             `json:"every_seconds"` // how long until it said so again
	Outages []policy.Outage `json:"outages,omitempty"`
}

// grace is how many times over a server may be late before nobody is there: it
// is behind the store's own delays, and before anybody vanishes.
const grace = 2

// now is the state with the outage that is under way, if there is one. Before
// anything was written it is since ever: a store that comes from a backup, or
// has just begun with this, knows of nobody.
func (s state) now(found bool, at time.Time) []policy.Outage {
	switch late := at.Sub(s.Up); {
	case !found:
		return []policy.Outage{{To: at}}
	case late > grace*time.Duration(s.Every)*time.Second:
		return append(s.Outages[:len(s.Outages):len(s.Outages)], policy.Outage{From: s.Up, To: at})
	}
	return s.Outages
}

// Outages are the times in which no server was there, that under way as well.
// A clock that went ahead at once is one, too.
func Outages(v ledger.View, now time.Time) ([]policy.Outage, error) {
	var s state
	found, err := v.Load(table, keyState, &s)
	if err != nil {
		return nil, err
	}
	return s.now(found, now), nil
}

// stillHere notes that a server is there.
func stillHere(t *ledger.Txn, now time.Time, every time.Duration) error {
	var s state
	found, err := t.View.Load(table, keyState, &s)
	if err != nil {
		return err
	}
	s.Outages = s.now(found, now)
	s.Outages = s.Outages[max(0, len(s.Outages)-maxKept):]
	s.Up, s.Every = now, int(every/time.Second)
	return t.Save(table, keyState, s)
}
