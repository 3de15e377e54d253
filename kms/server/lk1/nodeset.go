package lk1

import (
	"context"

	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// SetNode changes a node's own settings and labels. Where several people must
// approve, they must want this, too: it could do what approving does.
func (s *Service) SetNode(ctx context.Context, who string, set policy.Change) (Node, error) {
	detail, do, err := terms.Setting(s, policy.LK1, set)
	if err != nil {
		return Node{}, err
	}
	if set.Settings.Presence != nil || set.Settings.Moved != "" {
		if err := s.read(func(v view) error { return v.Needs("presence", ledger.FormatPeople) }); err != nil {
			return Node{}, err
		}
	}
	return s.decideNode(ctx, who, "set", detail, func(t *txn, row *nodeRow) (string, error) {
		before := row.machine()
		if err := do(&row.Terms); err != nil {
			return "", err
		}
		return whatOf(detail), t.sight.Keeps(before, row.machine())
	})
}
