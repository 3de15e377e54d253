package server

import (
	"context"
	"fmt"
)

// SetQuarantine stops a node, or readmits it. It takes effect with the next
// release: the transaction that records a release reads it again.
func (s *Server) SetQuarantine(ctx context.Context, who string, on bool) (Node, error) {
	event := "readmit"
	if on {
		event = "quarantine"
	}
	return s.changeNode(ctx, who, event, "", func(_ *txn, row *nodeRow) error {
		if row.State == stateDeleted {
			return fmt.Errorf("%s: %w: the node was deleted, and stays refused", event, ErrRefused)
		}
		if row.State == statePending {
			return fmt.Errorf("%s: %w: the node is not approved, so it gets nothing as it is", event, ErrRefused)
		}
		row.Quarantined = on
		return nil
	})
}

// AcceptNode takes the boot state that the node showed last for the
// approved one: after an update, or after its TPM was cleared.
func (s *Server) AcceptNode(ctx context.Context, who string) (Node, error) {
	return s.changeNode(ctx, who, "accept", "", func(_ *txn, row *nodeRow) error {
		if row.State != stateApproved {
			return fmt.Errorf("accept: %w: the node is %s", ErrRefused, row.State)
		}
		if row.Shown == nil || !row.Shown.Boot {
			return fmt.Errorf("accept: %w: the node's last proof was not from an unlocking boot", ErrRefused)
		}
		row.pin(len(row.Pins) == 0, &Approved{})
		return nil
	})
}

// DeleteNode leaves a tombstone: the EK stays refused for good. Its volumes
// keep their secrets until they are deleted or moved to another node.
func (s *Server) DeleteNode(ctx context.Context, who string) (Node, error) {
	return s.changeNode(ctx, who, "delete", "", func(t *txn, row *nodeRow) error {
		if row.State == statePending {
			if err := t.forget(row.ID); err != nil {
				return err
			}
		}
		row.State, row.Shown, row.Pins = stateDeleted, nil, nil
		return nil
	})
}

// changeNode changes one node's row and notes the event; detail may be empty.
func (s *Server) changeNode(ctx context.Context, who, event, detail string, change func(*txn, *nodeRow) error) (n Node, err error) {
	err = s.update(ctx, func(t *txn) error {
		row, err := t.find(who)
		if err != nil {
			return err
		}
		t.bump()
		if err := change(t, &row); err != nil {
			return err
		}
		if err := t.saveNode(row); err != nil {
			return err
		}
		n = t.present(row)
		return t.note(Event{Event: event, Node: row.ID.String(), From: operator(ctx), Detail: detail})
	})
	return n, err
}
