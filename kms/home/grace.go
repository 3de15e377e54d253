package home

import (
	"time"

	"latchkey/kms/config"
	"latchkey/kms/ledger"
)

// Grace is how long what an operator deletes can be had again.
func Grace(r config.Retention) time.Duration {
	if r.Deleted == nil {
		return ledger.DefaultGrace
	}
	return time.Duration(*r.Deleted)
}
