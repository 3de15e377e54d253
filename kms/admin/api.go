// Package admin is how a key server is administered: a table of routes from
// which handlers and the OpenAPI document are made, the same on the Unix
// socket and over HTTPS, where tokens and client certificates have scopes.
// What the routes do is given to it.
package admin

import (
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
}

// New makes one of the ledger's own routes and others.
func New(l *ledger.Ledger, log *slog.Logger, others ...[]Route) *API {
	a := &API{ledger: l, log: log}
	a.routes = slices.Concat(slices.Concat(others...), a.trustRoutes(), a.tokenRoutes(), a.sessionRoutes(), a.documentRoutes(), a.storeRoutes(), a.backupRoutes(), a.historyRoutes(), a.rekeyRoutes(), a.keyRoutes())
	return a
}
