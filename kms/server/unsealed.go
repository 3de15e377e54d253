package server

import (
	"context"
	"fmt"

	"latchkey/kms/ledger"
	"latchkey/kms/wrapping"
)

// Unsealed says in the audit log who gave which share of the wrapping key.
func (s *Server) Unsealed(ctx context.Context, by []wrapping.Giver) error {
	if len(by) == 0 {
		return nil
	}
	return s.Ledger.Update(ctx, func(t *ledger.Txn) error {
		for _, one := range by {
			if err := t.Note(ledger.Event{Event: "unseal", From: one.Who, Detail: fmt.Sprintf("share %d of set %s", one.Number, one.Set)}); err != nil {
				return err
			}
		}
		return nil
	})
}
