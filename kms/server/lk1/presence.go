package lk1

import (
	"context"
	"net/netip"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
)

// presenceRow is what is kept of where a node is.
type presenceRow struct {
	Vanished time.Time    `json:"vanished,omitzero"`   // when it was found to be away for longer than it may be
	Back     bool         `json:"back,omitempty"`      // it was seen again since, and waits to be renewed
	BackHome bool         `json:"back_home,omitempty"` // that was in the network that it was in
	Home     netip.Prefix `json:"home,omitzero"`       // the network that it is in
	MovedTo  netip.Prefix `json:"moved_to,omitzero"`   // another one, that was noted
}

// presence adds when and where the node was seen to what the policy judges, if
// it judges that.
func (v view) presence(f *policy.Facts, row *nodeRow) error {
	f.Vanished, f.Home = row.Vanished, row.Home
	if f.Settings.Presence == nil && f.Settings.Moved == "" {
		return nil
	}
	now := v.s.ledger.Wall().UTC()
	sight, err := v.s.seen.Last(v.View, row.ID, now)
	if err != nil {
		return err
	}
	f.Beat, f.BeatFrom = sight.At, sight.From
	f.Outages, err = presence.Outages(v.View, now)
	return err
}

// stirs tells whether a beat changes the node's row.
func (row *nodeRow) stirs(b beaten, f policy.Facts) bool {
	if !b.at.After(f.Beat) {
		return false // it tells nothing new: it may have been recorded
	}
	moves := row.Home.IsValid() && policy.NetworkOf(f.From).IsValid() && policy.NetworkOf(f.From) != row.Home && f.Settings.Moved != ""
	return f.Vanishes() || moves && row.MovedTo != policy.NetworkOf(f.From) || row.returns(f)
}

// goes tells whether a node is away for longer than it may be, and nobody has
// noted that. Of one that came back that is so once the beat of its return was
// counted: that comes after it was noted.
func (row *nodeRow) goes(f policy.Facts) bool {
	since := row.Back && (f.Beat.After(row.Vanished) || f.Heard.After(row.Vanished))
	return f.Vanishes() && (row.Vanished.IsZero() || since)
}

// returns tells whether a node that vanished is seen again.
func (row *nodeRow) returns(f policy.Facts) bool {
	return !row.Vanished.IsZero() && !row.Back && f.Now.After(row.Vanished)
}

// home tells whether a node that vanished is back in the network that it was
// in.
func (row *nodeRow) home() bool {
	return !row.Vanished.IsZero() && row.Back && row.BackHome
}

// settle keeps in which network the node is.
func (row *nodeRow) settle(f policy.Facts) {
	if here := policy.NetworkOf(f.From); !row.Home.IsValid() && here.IsValid() {
		row.Home = here
	}
}

// notice notes that a node was away for longer than it may be, that it is
// back, and that it is elsewhere: it was seen just now.
func (t *txn) notice(from string, row *nodeRow, f policy.Facts) error {
	home := row.Home.IsValid() && policy.NetworkOf(f.From) == row.Home
	if row.goes(f) {
		if err := t.vanish(row, f); err != nil {
			return err
		}
	}
	if here := policy.NetworkOf(f.From); f.Settings.Moved != "" && f.Elsewhere() == here && here.IsValid() && row.MovedTo != here {
		if err := t.Note(ledger.Event{Event: "moved", Node: row.ID.String(), From: from, Detail: "from " + row.Home.String() + " to " + here.String()}); err != nil {
			return err
		}
		if row.MovedTo = here; f.Settings.Moved == policy.MovedAllow {
			row.Home, row.MovedTo = here, netip.Prefix{}
		}
	}
	if row.Vanished.IsZero() || row.Back || f.Now.Before(row.Vanished) {
		return nil
	}
	row.Back, row.BackHome = true, home
	return t.Note(ledger.Event{Event: "back", Node: row.ID.String(), From: from, Detail: "it had vanished " + row.Vanished.Format(time.RFC3339) + ", and waits for: node renew"})
}

// noticeAsking notes the same of a node that asked.
func (t *txn) noticeAsking(p *proof, row *nodeRow, f policy.Facts, status kms.Status) error {
	if status == kms.OK {
		row.settle(f)
	}
	return t.notice(p.from, row, f)
}

// vanish notes that nobody has seen a node for longer than it may be away.
func (t *txn) vanish(row *nodeRow, f policy.Facts) error {
	t.Bump()
	row.Vanished, row.Back, row.BackHome = f.Now, false, false
	return t.Note(ledger.Event{Event: "vanished", Node: row.ID.String(), Detail: "last seen " + f.Now.Add(-f.Away()).UTC().Format(time.RFC3339)})
}

// WatchPresence writes who was seen, and looks for those that vanished, until
// ctx ends. Of several replicas one finds it; the others find it done.
func (s *Service) WatchPresence(ctx context.Context) {
	if s.bound != nil {
		<-ctx.Done() // the center counts
		return
	}
	for {
		wait, used, err := s.LookForPresence(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("who was seen could not be written, or read; it is tried again", "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			if used {
				s.writePresence(context.WithoutCancel(ctx), wait)
			}
			return
		case <-timer.C:
		}
	}
}

// LookForPresence is one look, and says when the next one is due, and whether
// any machine must be seen, or is: else nothing is written.
func (s *Service) LookForPresence(ctx context.Context) (wait time.Duration, used bool, err error) {
	var gone []kms.NodeID
	var shortest time.Duration
	now := s.ledger.Wall().UTC()
	err = s.read(func(v view) error {
		gone, shortest, err = v.vanished(now)
		return err
	})
	wait = presence.Every(shortest)
	if err != nil || shortest == 0 && !s.seen.Any() {
		return wait, false, err
	}
	if s.read(func(v view) error { return v.Needs("presence", ledger.FormatPeople) }) != nil {
		return wait, false, nil // earlier servers use the store, and no policy asks for it
	}
	for _, id := range gone {
		if err := s.markVanished(ctx, id); err != nil {
			return wait, true, err
		}
	}
	return wait, true, s.writePresence(ctx, wait)
}

func (s *Service) writePresence(ctx context.Context, wait time.Duration) error {
	return s.seen.Write(func(f func(*ledger.Txn) error) error { return s.ledger.Update(ctx, f) }, s.ledger.Wall().UTC(), wait)
}

// vanished are the nodes of which nobody has noted yet that they are away for
// too long, and the shortest time that any may be.
func (v view) vanished(now time.Time) (gone []kms.NodeID, shortest time.Duration, err error) {
	sights, err := v.s.seen.All(v.View, now)
	if err != nil {
		return nil, 0, err
	}
	outages, err := presence.Outages(v.View, now)
	if err != nil {
		return nil, 0, err
	}
	var present, vanished int64
	err = v.s.rows.fleet.Known(v.View, func(row nodeRow) error {
		settings := v.s.settings(&row)
		if settings.Presence == nil || *settings.Presence == 0 || row.State != fleet.Approved {
			return nil
		}
		if d := time.Duration(*settings.Presence); shortest == 0 || d < shortest {
			shortest = d
		}
		f := policy.Facts{Now: now, State: policy.Approved, Heard: row.heard(), Beat: sights[row.ID].At, Outages: outages, Settings: settings}
		if row.goes(f) {
			gone = append(gone, row.ID)
		}
		if f.Vanishes() || !row.Vanished.IsZero() {
			vanished++
		} else {
			present++
		}
		return nil
	})
	v.s.present.Store(present)
	v.s.vanished.Store(vanished)
	return gone, shortest, err
}

// Presence is how many machines must be seen and were, or were not, at the last
// look.
func (s *Service) Presence() (present, vanished int64) { return s.present.Load(), s.vanished.Load() }

// markVanished looks again, in the transaction that notes it.
func (s *Service) markVanished(ctx context.Context, id kms.NodeID) error {
	return s.update(ctx, func(t *txn) error {
		row, found, err := t.node(id)
		if err != nil || !found {
			return err
		}
		f := s.facts(&proof{node: id, operation: kms.Get}, &row, s.ledger.Wall().UTC())
		if err := t.presence(&f, &row); err != nil {
			return err
		}
		if !row.goes(f) {
			return nil
		}
		if err := t.vanish(&row, f); err != nil {
			return err
		}
		return t.saveNode(row)
	})
}

// expect begins anew: the operator says that the node is where it should be.
func (row *nodeRow) expect() {
	row.Vanished, row.Back, row.BackHome = time.Time{}, false, false
	row.Home, row.MovedTo = netip.Prefix{}, netip.Prefix{}
}

// lookAtAll reads once who was seen when, where many nodes are listed.
func (v view) lookAtAll() (err error) {
	v.kept.sights, err = v.s.seen.All(v.View, v.s.ledger.Wall().UTC())
	return err
}

// beatOf is what the node's last beat has proven. What cannot be read is said
// by who decides by it.
func (v view) beatOf(id kms.NodeID) time.Time {
	if v.kept.sights != nil {
		return v.kept.sights[id].At
	}
	sight, err := v.s.seen.Last(v.View, id, v.s.ledger.Wall().UTC())
	if err != nil {
		return time.Time{}
	}
	return sight.At
}

// LastSeen is when the node last asked or beat.
func (n Node) LastSeen() time.Time {
	if n.Beat.After(n.Last) {
		return n.Beat
	}
	return n.Last
}
