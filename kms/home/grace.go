package home

import (
	"time"

	"latchkey/kms/config"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/policy"
)

// Retain tells a server how long it keeps what is of no use any more.
func Retain(s *server.Server, r config.Retention) {
	s.SetGrace(orDefault(r.Deleted))
	s.SetKeepSecrets(orDefault(r.Secrets))
	s.SetWaitForBackup(r.Wait)
}

func orDefault(d *policy.Duration) time.Duration {
	if d == nil {
		return ledger.DefaultGrace
	}
	return time.Duration(*d)
}
