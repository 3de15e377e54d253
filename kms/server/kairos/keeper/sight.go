package keeper

import (
	"context"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/terms"
)

// sighted is what a sight goes by.
func (row *machine) sighted() terms.Machine {
	return terms.Machine{Labels: row.Labels, State: row.State, From: row.LastFrom}
}

// theirs are the nodes that who administers sees. The policy was followed
// before.
func (k *Keeper) theirs(ctx context.Context) fleet.Part[machine] {
	sight := terms.SightOf(ctx, k.c.Rules)
	if sight.Whole() {
		return k.fleet.Part(nil)
	}
	return k.fleet.Part(func(row *machine) bool { return sight.Sees(row.sighted()) })
}

// Sees tells which nodes, by their TPMHash, who administers sees.
func (k *Keeper) Sees(ctx context.Context, v ledger.View) func(node string) (bool, error) {
	theirs := k.theirs(ctx)
	return func(node string) (bool, error) {
		id, err := kms.ParseNodeID(node)
		if err != nil {
			return false, nil // no node of Kairos
		}
		_, found, err := theirs.Get(v, id[:])
		return found, err
	}
}
