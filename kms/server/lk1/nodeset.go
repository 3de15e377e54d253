package lk1

import (
	"context"
	"encoding/json"
	"fmt"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// SetNode changes a node's own settings and labels. Where several people must
// approve, they must want this, too: it could do what approving does.
func (s *Service) SetNode(ctx context.Context, who string, set policy.Change) (Node, error) {
	if err := s.book.Rules().Allows(policy.LK1, set); err != nil {
		return Node{}, err
	}
	if set.Settings.Presence != nil || set.Settings.Moved != "" {
		if err := s.read(func(v view) error { return v.Needs("presence", ledger.FormatPeople) }); err != nil {
			return Node{}, err
		}
	}
	detail, err := json.Marshal(set)
	if err != nil {
		return Node{}, fmt.Errorf("setting: %w", err)
	}
	return s.decideNode(ctx, who, "set", string(detail), func(_ *txn, row *nodeRow) (string, error) {
		if err := row.Set(set); err != nil {
			return "", fleet.Refuse(err.Error())
		}
		return whatOf(string(detail)), nil
	})
}
