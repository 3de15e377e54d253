package config

import (
	"time"

	"latchkey/kms/server/policy"
)

// A Retention says how long what is of no use any more can be had again. Nil
// is the ledger's default, 0 not at all.
type Retention struct {
	Deleted *policy.Duration `yaml:"deleted"` // what an operator deleted
	Secrets *policy.Duration `yaml:"secrets"` // what rotations replaced
	// Wait: no rotation ends before there is a backup with its secret.
	Wait bool `yaml:"rotations-wait-for-backup"`
}

// maxRetention is the longest: what is kept for ever is not deleted.
const maxRetention = policy.Duration(3660 * 24 * time.Hour)

func (r *Retention) check() error {
	for key, d := range map[string]*policy.Duration{"deleted": r.Deleted, "secrets": r.Secrets} {
		if d != nil && (*d < 0 || *d > maxRetention) {
			return faultf(key, "%s must be between 0s, which destroys at once, and %s", *d, maxRetention)
		}
	}
	return nil
}
