package lk1

import (
	"context"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// SetQuarantine stops a node, or readmits it. It takes effect with the next
// release: the transaction that records a release reads it again.
func (s *Service) SetQuarantine(ctx context.Context, who string, on bool) (Node, error) {
	if on {
		return s.changeNode(ctx, who, "quarantine", "", func(t *txn, row *nodeRow) error {
			row.Quarantined = true
			return t.stop(ctx, row.ID)
		})
	}
	return s.decideNode(ctx, who, "readmit", "", func(_ *txn, row *nodeRow) (string, error) {
		row.Quarantined = false
		return "", nil
	})
}

// An Acceptance says what an operator takes.
type Acceptance struct {
	Seen       string // if it is not empty: Node.Seen of what the operator looked at
	Unmeasured bool   // take a boot whose initrd nothing measures
}

// AcceptNode takes the boot state that the node showed last for the
// approved one: after an update, or after its TPM was cleared.
func (s *Service) AcceptNode(ctx context.Context, who string, a Acceptance) (Node, error) {
	return s.decideNode(ctx, who, "accept", "", func(t *txn, row *nodeRow) (string, error) {
		if err := row.stillShows(a.Seen); err != nil {
			return "", err
		}
		if row.State != fleet.Approved {
			return "", fleet.Refuse("the node is " + string(row.State))
		}
		if row.Shown == nil || !row.Shown.Boot {
			return "", fleet.Refuse("the node's last proof was not from an unlocking boot")
		}
		none := len(row.Pins) == 0 && !row.Awaits && !row.Takes
		return whatOf(row.Shown.digest(), a.Unmeasured), t.pin(row, Approval{NoPCRs: none, Unmeasured: a.Unmeasured}, &Approved{})
	})
}

// DeleteNode leaves a tombstone: the EK stays refused. Its volumes
// keep their secrets until they are deleted or moved to another node; what it
// offered while it waited is kept for the ledger's grace.
func (s *Service) DeleteNode(ctx context.Context, who string) (Node, error) {
	return s.changeNode(ctx, who, "delete", "", func(t *txn, row *nodeRow) error {
		if row.State == fleet.Pending {
			if err := t.leaveOffers(ctx, row.ID); err != nil {
				return err
			}
		}
		row.State, row.Shown, row.Pins = fleet.Deleted, nil, nil
		return t.stop(ctx, row.ID)
	})
}

// UndeleteNode takes a tombstone away: the node waits for approval again, as
// one that nobody knows. What is bound to it stays so, and it gets none of it
// before it is approved. Its counters stay: an old boot is no new one.
func (s *Service) UndeleteNode(ctx context.Context, who string) (Node, error) {
	return s.changeNode(ctx, who, undelete, "", func(t *txn, row *nodeRow) error {
		if err := t.Unbury(offers, row.ID[:]); err != nil {
			return err
		}
		now := s.ledger.Wall().UTC()
		*row = nodeRow{ID: row.ID, State: fleet.Pending, First: now, Last: now, LastFrom: row.LastFrom, Clock: row.Clock, Terms: policy.Terms{Booted: row.Booted, Labels: row.Labels, Settings: row.Settings}}
		return nil
	})
}

// undelete is the one command for nodes that were deleted.
const undelete = "undelete"

// changeNode changes one node's row and notes the event; detail may be empty.
func (s *Service) changeNode(ctx context.Context, who, event, detail string, change func(*txn, *nodeRow) error) (n Node, err error) {
	id, err := s.resolve(ctx, who)
	if err != nil {
		return Node{}, err
	}
	_, err = s.rows.fleet.Change(ctx, s.ledger, fleet.Change[nodeRow]{
		Event: event, Verb: event, Detail: detail, Deleted: event == undelete,
		Find: func(t *ledger.Txn) (nodeRow, error) {
			if err := s.book.Follow(t.View); err != nil {
				return nodeRow{}, err
			}
			return s.by(ctx, t).known(id)
		},
		Do: func(lt *ledger.Txn, row *nodeRow) error {
			t := s.by(ctx, lt)
			if err := change(t, row); err != nil {
				return err
			}
			n = t.present(*row)
			return nil
		},
	})
	return n, err
}

// RenewNode renews the approval of a node that lapsed by silence, and lets
// it through for an hour outside its windows. It binds and pins nothing.
func (s *Service) RenewNode(ctx context.Context, who string) (Node, error) {
	return s.decideNode(ctx, who, "renew", "", func(_ *txn, row *nodeRow) (string, error) {
		if row.State != fleet.Approved {
			return "", fleet.Refuse("the node is " + string(row.State))
		}
		row.Renew(time.Now())
		row.expect()
		return "", nil
	})
}

// RenewLapsed renews all approvals that lapsed by silence: after a clock was
// wrong.
func (s *Service) RenewLapsed(ctx context.Context) ([]Node, error) {
	return s.renewAll(ctx, func(row *nodeRow) bool { return !row.Lapsed.IsZero() })
}

// RenewBack renews all that vanished and are back where they were: after a
// network was cut. One that is still away, or elsewhere, is not among them.
func (s *Service) RenewBack(ctx context.Context) ([]Node, error) {
	return s.renewAll(ctx, (*nodeRow).home)
}

func (s *Service) renewAll(ctx context.Context, which func(*nodeRow) bool) (renewed []Node, err error) {
	var ids []string
	err = s.see(ctx, func(v view) error {
		return v.theirs().Known(v.View, func(row nodeRow) error {
			if row.State == fleet.Approved && which(&row) {
				ids = append(ids, row.Name())
			}
			return nil
		})
	})
	for _, id := range ids {
		if err != nil {
			return renewed, err
		}
		var n Node
		if n, err = s.RenewNode(ctx, id); err == nil {
			renewed = append(renewed, n)
		}
	}
	return renewed, err
}
