package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// trustRoutes show and change the signing keys.
func (a *API) trustRoutes() []Route {
	key := []Param{{Name: "key", Doc: "public key, as lk1:...=", Required: true}}
	change := func(verb, doc string, query []Param, f func(ctx context.Context, pin kms.Pin, now bool) (ledger.Trust, error)) Route {
		return Route{
			Method: "POST", Path: "/v1/trust/" + verb, Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: doc, Query: query, Answer: ledger.Trust{},
			Do: func(r *http.Request) (any, error) {
				pin, err := kms.ParsePin(r.URL.Query().Get("key"))
				if err != nil {
					return nil, fmt.Errorf("reading the key: %w", err)
				}
				now, err := Now(r)
				if err != nil {
					return nil, err
				}
				return f(r.Context(), pin, now)
			},
		}
	}
	plain := func(f func(context.Context, kms.Pin) (ledger.Trust, error)) func(context.Context, kms.Pin, bool) (ledger.Trust, error) {
		return func(ctx context.Context, pin kms.Pin, _ bool) (ledger.Trust, error) { return f(ctx, pin) }
	}
	return []Route{
		{
			Method: "GET", Path: "/v1/trust", Scope: ScopeRead, Reaching: SameForAll, Doc: "Shows the public keys that go into machines' plans.", Answer: ledger.Trust{},
			Do: func(*http.Request) (any, error) { return a.ledger.Trust(), nil },
		},
		{
			Method: "POST", Path: "/v1/trust/add", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Makes another signing key.", Answer: ledger.Trust{},
			Do: func(r *http.Request) (any, error) { return a.ledger.AddKey(r.Context()) },
		},
		change("use", "Signs with a key from now on.", key, plain(a.ledger.UseKey)),
		change("retire", "Takes a key out of use that no image needs any more, and destroys it once the grace has ended.", append(slices.Clone(key), NowParam), a.ledger.RetireSigningKey),
		change("undelete", "Gives back a key that was retired, within the grace.", key, plain(a.ledger.UndeleteSigningKey)),
	}
}
