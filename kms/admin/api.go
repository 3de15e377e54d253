// Package admin is how a key server is administered: a table of routes from
// which handlers and the OpenAPI document are made, the same on the Unix
// socket and over HTTPS, where tokens and client certificates have scopes.
// What the routes do is given to it.
package admin

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"latchkey/kms/backup"
	"latchkey/kms/ledger"
)

// tableTokens is by SHA-256 of a bearer token.
var tableTokens = ledger.NewTable("tokens", ledger.Sealed)

// Tables are those of the administration.
func Tables() []*ledger.Table { return []*ledger.Table{tableTokens, tableSignouts} }

// An API answers the operator.
type API struct {
	ledger *ledger.Ledger
	log    *slog.Logger
	routes []Route

	checking sync.Mutex
	backups  atomic.Pointer[backup.Schedule]
	sees     Sees
}

// Sees tells which machines, by their names in the audit log, somebody
// administers, at the moment of a view.
type Sees func(ctx context.Context, v ledger.View) func(node string) (bool, error)

// SetSees says who is told of which machine. It is called before anybody is
// answered; without it, who does not reach all machines is told of none.
func (a *API) SetSees(s Sees) { a.sees = s }

// seen passes those events on that are of a machine that who administers
// reaches: the log as if there were no others.
func (a *API) seen(ctx context.Context, v ledger.View) func(*ledger.Event) (bool, error) {
	switch {
	case ReachOf(ctx).Whole():
		return func(*ledger.Event) (bool, error) { return true, nil }
	case a.sees == nil:
		return func(*ledger.Event) (bool, error) { return false, nil }
	}
	sees, known := a.sees(ctx, v), map[string]bool{}
	return func(e *ledger.Event) (bool, error) {
		yes, asked := known[e.Node]
		if asked || e.Node == "" {
			return yes, nil
		}
		yes, err := sees(e.Node)
		known[e.Node] = yes
		return yes, err
	}
}

// New makes one of the ledger's own routes and others.
func New(l *ledger.Ledger, log *slog.Logger, others ...[]Route) *API {
	a := &API{ledger: l, log: log}
	a.routes = slices.Concat(slices.Concat(others...), a.trustRoutes(), a.tokenRoutes(), a.sessionRoutes(), a.documentRoutes(), a.storeRoutes(), a.backupRoutes(), a.historyRoutes(), a.rekeyRoutes(), a.keyRoutes())
	return a
}
