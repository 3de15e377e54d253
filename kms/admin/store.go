package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"

	"latchkey/kms/ledger"
)

// storeRoutes look after the database.
func (a *API) storeRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/v1/audit", Scope: ScopeRead, Reaching: Within, Doc: "Shows the audit log, a page of 1,000 events at most.",
			Query: []Param{{Name: "from", Doc: "first sequence number", Required: true, Kind: "integer"}}, Answer: []ledger.Event{}, Do: a.audit,
		},
		a.searchRoute(),
		{
			Method: "GET", Path: "/v1/check", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Verifies every record and the audit log. One check runs at a time.", Answer: ledger.Checked{},
			Do: func(*http.Request) (any, error) { return a.check() },
		},
		{
			Method: "GET", Path: "/v1/backup", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Writes one consistent state of the database, still sealed.",
			Gives: true, Answer: []byte{}, Media: "application/octet-stream", Stream: a.backup,
		},
	}
}

// check is work on the whole database: a second one at once is refused.
func (a *API) check() (ledger.Checked, error) {
	if !a.checking.TryLock() {
		return ledger.Checked{}, fmt.Errorf("checking the database: %w: another check is under way", ledger.ErrRefused)
	}
	defer a.checking.Unlock()
	return a.ledger.Check()
}

func (a *API) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	at, err := a.ledger.Position()
	if err == nil {
		err = a.ledger.Backup(w)
	}
	if err != nil {
		a.log.Error("writing a backup", "err", err)
		panic(http.ErrAbortHandler) // the reader must not take it for whole
	}
	if err := a.ledger.NoteBackup(r.Context(), at); err != nil {
		a.log.Warn("rotations that wait for a backup wait for the next one", "err", err)
	}
}

// auditPage is how many events one request gets.
const auditPage = 1000

func (a *API) audit(r *http.Request) (any, error) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %q is no sequence number", r.URL.Query().Get("from"))
	}
	var events []ledger.Event
	err = a.ledger.Read(func(v ledger.View) error {
		var failed error
		seen := a.seen(r.Context(), v)
		err := v.Events(from, func(e ledger.Event) bool {
			n := len(events)
			if n >= auditPage && e.Seq != events[n-1].Seq { // the next page begins at another number
				return false
			}
			var yes bool
			if yes, failed = seen(&e); yes {
				events = append(events, e)
			}
			return failed == nil
		})
		return cmp.Or(err, failed)
	})
	return List(events, err)
}
