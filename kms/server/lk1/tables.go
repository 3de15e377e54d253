package lk1

import (
	"fmt"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/presence"
	"latchkey/kms/server/release"
)

// Tables beside the fleet's, whose rows are by node id.
var (
	tableVolumes = ledger.NewTable("volumes", ledger.Sealed)        // by node id ‖ UUID; node zero: nobody's yet
	tableSecrets = ledger.NewTable("secrets", ledger.SealedByState) // by node id ‖ UUID ‖ state
	tableOwners  = ledger.NewTable("owners", ledger.Sealed)         // by UUID: the node that it is bound to
	tableSpent   = ledger.NewTable("spent", ledger.Passing)         // by expiry ‖ th2, or key's id ‖ th2: challenges redeemed
	tableCookies = ledger.NewTable("cookies", ledger.Passing)       // keys that replicas close cookies with
)

// Rows are what a service keeps.
type Rows struct {
	fleet    *fleet.Fleet[nodeRow]
	releases *release.Rows
}

// NewRows makes rows to register with a ledger.
func NewRows() *Rows { return &Rows{fleet.New[nodeRow]("nodes", "pending"), release.NewRows()} }

// Bound limits how many nodes may be known: fleet.Fleet.Bound.
func (r *Rows) Bound(most int) { r.fleet.Bound(most) }

// Tables are those to register.
func (r *Rows) Tables() []*ledger.Table {
	return append(append(append(r.fleet.Tables(), r.releases.Tables()...), presence.Tables()...), tableVolumes, tableSecrets, tableOwners, tableSpent, tableCookies, tablePushes, tableLinks, tableAgreements, tableRecovery)
}

// States of a secret, part of what it is sealed with: an active and a
// staged secret cannot be exchanged.
const (
	active = 1
	staged = 2
)

func secretKey(key []byte, state byte) []byte { return append(append([]byte(nil), key...), state) }

// loadSecret reads a secret; kind zero means that there is none.
func (v view) loadSecret(key []byte, state byte) (kind byte, s secret.Bytes, err error) {
	plain, found, err := v.Get(tableSecrets, secretKey(key, state))
	if err != nil || !found {
		return 0, secret.Bytes{}, err
	}
	if len(plain) < 2 {
		return 0, secret.Bytes{}, fmt.Errorf("reading a secret: %w", ledger.ErrUnverified)
	}
	return plain[0], secret.Own(plain[1:]), nil
}

func (t *txn) saveSecret(key []byte, state, kind byte, s secret.Bytes) error {
	plain := append([]byte{kind}, s.Reveal()...)
	defer clear(plain)
	return t.Put(tableSecrets, secretKey(key, state), plain)
}

// forget removes a pending row with what it proposed.
func (t *txn) forget(id kms.NodeID) error {
	if err := t.forgetOffers(id); err != nil {
		return err
	}
	return t.s.rows.fleet.Drop(t.Txn, id[:])
}

// forgetOffers removes what a node proposed and nobody bound.
func (t *txn) forgetOffers(id kms.NodeID) error {
	for _, uuid := range t.uuidsOf(id) {
		owner, bound, err := t.owner(uuid)
		if err != nil {
			return err
		}
		if bound && owner == id {
			continue // it was approved once, deleted, and waits again
		}
		if _, nodes, err := t.deletion(uuid); err != nil {
			return err
		} else if len(nodes) > 0 && nodes[0] == id {
			continue // it may be its own again
		}
		if err := t.dropVolume(id, uuid); err != nil {
			return err
		}
	}
	return nil
}

// uuidsOf lists the volumes that have a row under a node.
func (v view) uuidsOf(id kms.NodeID) (uuids []kms.UUID) {
	v.Scan(tableVolumes, id[:], func(key []byte) bool {
		if len(key) != 48 || kms.NodeID(key[:32]) != id {
			return false
		}
		uuids = append(uuids, kms.UUID(key[32:]))
		return true
	})
	return uuids
}
