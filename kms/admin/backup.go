package admin

import (
	"errors"
	"fmt"
	"net/http"

	"latchkey/kms/backup"
	"latchkey/kms/ledger"
)

// SetBackups gives the administration the schedule of backups; without one
// there is no place to write them to.
func (a *API) SetBackups(s *backup.Schedule) { a.backups.Store(s) }

// backupRoutes are about backups that the server writes itself.
func (a *API) backupRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/v1/backups", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Shows where the server writes backups, the newest in each place, and what went wrong.",
			Answer: backup.Status{}, Do: a.backupStatus,
		},
		{
			Method: "POST", Path: "/v1/backups", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Writes a backup to the configured places now, and reads it back from there.",
			Answer: backup.Made{}, Do: a.makeBackup,
		},
	}
}

// errNoPlace is a server that writes no backups by itself.
var errNoPlace = fmt.Errorf("%w: the server has no place to write backups to: set backup in its configuration, or name a file", ledger.ErrRefused)

func (a *API) backupStatus(r *http.Request) (any, error) {
	s := a.backups.Load()
	if s == nil {
		return nil, errNoPlace
	}
	s.Look(r.Context())
	return s.Status(), nil
}

func (a *API) makeBackup(r *http.Request) (any, error) {
	s := a.backups.Load()
	if s == nil {
		return nil, errNoPlace
	}
	made, err := s.Make(r.Context())
	if errors.Is(err, backup.ErrMaking) {
		return nil, fmt.Errorf("%w: %w", ledger.ErrRefused, err)
	}
	if err != nil {
		return nil, &ledger.Unavailable{Err: err}
	}
	return made, nil
}
