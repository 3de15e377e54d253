package lk1

import (
	"context"
	"errors"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// Together is an error until as many people as need be want this done with
// something that is no node.
func (s *Service) Together(ctx context.Context, t *ledger.Txn, subject kms.NodeID, need int, verb, what string) error {
	return s.in(t).together(ctx, &nodeRow{ID: subject}, need, verb, what)
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
