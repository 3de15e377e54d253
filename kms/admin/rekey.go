package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"latchkey/kms/ledger"
)

// rekeyWait is how long one request goes on with a change of the data key.
const rekeyWait = time.Second

// A DataKeyState is which data keys the store has, and how far a change has
// come.
type DataKeyState struct {
	Keys   []ledger.DataKey `json:"keys"`
	Change ledger.Rekeying  `json:"change"`
	Begun  bool             `json:"begun"` // by this request
}

// rekeyRoutes change the data key.
func (a *API) rekeyRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/v1/store/keys", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Shows the data keys that seal the records, how often each has sealed, and how far a change has come.",
			Answer: DataKeyState{}, Do: func(*http.Request) (any, error) { return a.dataKeys(false) },
		},
		{
			Method: "POST", Path: "/v1/store/rekey", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Changes the data key: adds one, which seals from then on, and seals all records again; it answers after a second at most, and the server goes on.",
			Query:  []Param{{Name: "continue", Doc: "begin none, only go on with one that was begun", Kind: "boolean"}},
			Answer: DataKeyState{}, Do: a.rekey,
		},
	}
}

func (a *API) dataKeys(begun bool) (s DataKeyState, err error) {
	s.Begun = begun
	if s.Keys, err = a.ledger.DataKeys(); err == nil {
		s.Change, err = a.ledger.Rekeying()
	}
	return s, err
}

func (a *API) rekey(r *http.Request) (any, error) {
	only, err := Said(r, "continue")
	if err != nil {
		return nil, err
	}
	begun := false
	if !only {
		_, _, err = a.ledger.Rekey(r.Context())
		begun = err == nil
	}
	if err != nil && !errors.Is(err, ledger.ErrRekeying) {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), rekeyWait)
	defer cancel()
	change, err := a.ledger.GoOn(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.dataKeys(begun)
	if s.Change.From != 0 {
		s.Change.Waiting = change.Waiting
	}
	return s, err
}
