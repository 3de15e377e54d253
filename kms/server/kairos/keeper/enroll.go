package keeper

import (
	"time"

	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
)

// admit makes a row for a node seen for the first time, or says why
// not.
func (k *Keeper) admit(t *txn, p *kairos.Proof) (machine, kairos.Reason, error) {
	if k.c.Enroll == fleet.Closed || k.c.Enroll == fleet.Cert { // its nodes show no certificate that can be checked
		return machine{}, kairos.NotEnrolled, nil
	}
	row := machine{Hash: p.Hash, State: fleet.Pending, First: time.Now().UTC(), LastFrom: p.From}
	if k.c.Enroll == fleet.Tofu && k.fleet.Tofu(t.view.View) {
		row.State = fleet.Approved
		t.Bump()
		return row, 0, nil
	}

	full, err := k.fleet.Full(t.Txn, k.c.Ledger.Now(), row, func(key []byte) error { return k.fleet.Drop(t.Txn, key) })
	if err != nil {
		return row, 0, err
	}

	if full {
		return row, kairos.Pending, nil
	}
	return row, 0, nil
}
