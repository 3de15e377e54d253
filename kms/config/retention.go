package config

import (
	"time"

	"latchkey/kms/server/policy"
)

// A Retention says how long what is of no use any more can be had again.
type Retention struct {
	Deleted *policy.Duration `yaml:"deleted"` // what an operator deleted; nil is the ledger's default, 0: it is destroyed at once
}

// maxRetention is the longest: what is kept for ever is not deleted.
const maxRetention = policy.Duration(3660 * 24 * time.Hour)

func (r *Retention) check() error {
	if d := r.Deleted; d != nil && (*d < 0 || *d > maxRetention) {
		return faultf("deleted", "%s must be between 0s, which destroys at once, and %s", *d, maxRetention)
	}
	return nil
}
