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
	return terms.Machine{Labels: row.Labels, State: row.State, From: row.From.String()}
}

// read is a view, with the policy that it has.
func (k *Keeper) read(f func(ledger.View) error) error {
	return k.c.Ledger.Read(func(v ledger.View) error {
		if err := k.c.Rules.Follow(v); err != nil {
			return err
		}
		return f(v)
	})
}

// theirs are the machines that who administers sees. The policy was followed
// before.
func (k *Keeper) theirs(ctx context.Context) fleet.Part[machine] {
	sight := terms.SightOf(ctx, k.c.Rules)
	if sight.Whole() {
		return k.rows.fleet.Part(nil)
	}
	return k.rows.fleet.Part(func(row *machine) bool { return sight.Sees(row.sighted()) })
}

// Sees tells which machines, by their UUID, who administers sees.
func (k *Keeper) Sees(ctx context.Context, v ledger.View) func(node string) (bool, error) {
	theirs := k.theirs(ctx)
	return func(node string) (bool, error) {
		uuid, err := kms.ParseUUID(node)
		if err != nil {
			return false, nil // no machine of Talos
		}
		_, found, err := theirs.Get(v, uuid[:])
		return found, err
	}
}
