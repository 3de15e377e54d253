package keeper

import (
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// Rows are what a keeper keeps.
type Rows struct{ fleet *fleet.Fleet[machine] }

// NewRows makes rows to register with a ledger.
func NewRows() *Rows { return &Rows{fleet.New[machine]("kairos-nodes", "kairos-pending")} }

var (
	tableSecrets = ledger.NewTable("kairos-secrets", ledger.Sealed) // "o" ‖ TPMHash ‖ partition, or "n" ‖ hashes of a Secret's name and key
	tableAKs     = ledger.NewTable("kairos-aks", ledger.Log)        // by TPMHash ‖ attestation key: those seen before
)

// Tables are those to register.
func (r *Rows) Tables() []*ledger.Table { return append(r.fleet.Tables(), tableSecrets, tableAKs) }

// Pending counts the machines that wait for the operator.
func (k *Keeper) Pending(v ledger.View) int { return k.fleet.Pending(v) }

// Bound limits how many machines may be known: fleet.Fleet.Bound.
func (r *Rows) Bound(most int) { r.fleet.Bound(most) }
