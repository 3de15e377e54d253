package keeper

import (
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// Rows are what a keeper keeps.
type Rows struct {
	fleet   *fleet.Fleet[machine]
	keyring *ledger.Keyring
}

// NewRows makes rows to register with a ledger.
func NewRows() *Rows {
	r := &Rows{fleet: fleet.New[machine]("talos-nodes", "talos-pending")}
	r.keyring = ledger.NewKeyring("talos", r.users)
	return r
}

// Tables are those to register.
func (r *Rows) Tables() []*ledger.Table { return r.fleet.Tables() }

// Keyring is the one to register.
func (r *Rows) Keyring() *ledger.Keyring { return r.keyring }

// Pending counts the machines that wait for the operator.
func (k *Keeper) Pending(v ledger.View) int { return k.rows.fleet.Pending(v) }

// Bound limits how many machines may be known: fleet.Fleet.Bound.
func (r *Rows) Bound(most int) { r.fleet.Bound(most) }
