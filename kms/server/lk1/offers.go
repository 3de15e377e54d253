package lk1

import (
	"context"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// offers are of nodes that were deleted while they waited, by id: what they
// offered is in its rows, and is theirs again if they are undeleted.
var offers = &ledger.Graveyard{Table: tableOwners, Mine: isNode, Event: "node destroy", Destroy: destroyOffers}

func isNode(key []byte) bool { return len(key) == len(kms.NodeID{}) }

// leaveOffers keeps what a node offered while it waited, or, without a grace,
// destroys it.
func (t *txn) leaveOffers(ctx context.Context, id kms.NodeID) error {
	if t.s.ledger.Grace() <= 0 {
		return t.forget(id)
	}
	return t.Bury(offers, id[:], nil, ledger.Who(ctx))
}

// destroyOffers is the end of a grace.
func destroyOffers(lt *ledger.Txn, key []byte, _ ledger.Grave) (ledger.Event, error) {
	id, t := kms.NodeID(key), &txn{view: view{View: lt.View}, Txn: lt}
	err := t.forgetOffers(id)
	return ledger.Event{Node: id.String(), Detail: "what it offered while it waited"}, err
}
