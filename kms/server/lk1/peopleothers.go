package lk1

import (
	"context"
	"errors"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// Together is an error until as many people as need be want this done with
// something that is no node.
func (s *Service) Together(ctx context.Context, t *ledger.Txn, subject kms.NodeID, need int, verb, what string) error {
	return s.in(t).together(ctx, &nodeRow{ID: subject}, need, verb, what)
}

// Reaches are those of who said it before, and still counts, the first first.
func (s *Service) Reaches(v ledger.View, subject kms.NodeID, verb, what string) ([]admin.Reach, error) {
	return s.view(v).reachesOf(subject, verb, what)
}

func (v view) reachesOf(id kms.NodeID, verb, what string) (all []admin.Reach, err error) {
	words, err := v.words(id, v.s.ledger.Wall())
	for _, w := range words {
		if w.Verb == verb && w.What == what {
			all = append(all, w.Reach)
		}
	}
	return all, err
}

// people is how many must want something done with a node as it is.
func (v view) people(row *nodeRow) int {
	return v.s.book.Rules().PeopleAt(policy.LK1, row.Terms, row.machine().Waits())
}

// Keep records what one person said of it, if err is Together's, and says how
// many more must say the same; name is what the audit log calls it.
func (s *Service) Keep(ctx context.Context, subject kms.NodeID, name string, err error) (needs string, _ error) {
	few, ok := errors.AsType[*tooFew](err)
	if !ok {
		return "", nil
	}
	return few.Error(), s.ledger.Update(ctx, func(t *ledger.Txn) error { // whatever the policy is
		if err := s.in(t).keepWord(subject, few); err != nil {
			return err
		}
		return t.Note(few.event(name))
	})
}

// Forget ends what people said of it.
func (s *Service) Forget(t *ledger.Txn, subject kms.NodeID) error {
	return s.in(t).forgetAgreements(subject, true)
}
