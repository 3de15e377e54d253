package admin

import (
	"context"
	"fmt"
	"net/http"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// trustRoutes show and change the signing keys.
func (a *API) trustRoutes() []Route {
	key := []Param{{Name: "key", Doc: "public key, as lk1:...=", Required: true}}
	change := func(verb, doc string, f func(context.Context, kms.Pin) (ledger.Trust, error)) Route {
		return Route{
			Method: "POST", Path: "/v1/trust/" + verb, Scope: ScopeAdmin, Doc: doc, Query: key, Answer: ledger.Trust{},
			Do: func(r *http.Request) (any, error) {
				pin, err := kms.ParsePin(r.URL.Query().Get("key"))
				if err != nil {
					return nil, fmt.Errorf("reading the key: %w", err)
				}
				return f(r.Context(), pin)
			},
		}
	}
	return []Route{
		{
			Method: "GET", Path: "/v1/trust", Scope: ScopeRead, Doc: "Shows the public keys that go into machines' plans.", Answer: ledger.Trust{},
			Do: func(*http.Request) (any, error) { return a.ledger.Trust(), nil },
		},
		{
			Method: "POST", Path: "/v1/trust/add", Scope: ScopeAdmin, Doc: "Makes another signing key.", Answer: ledger.Trust{},
			Do: func(r *http.Request) (any, error) { return a.ledger.AddKey(r.Context()) },
		},
		change("use", "Signs with a key from now on.", a.ledger.UseKey),
		change("retire", "Destroys a key that no image needs any more.", a.ledger.RetireSigningKey),
	}
}
