package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"latchkey/kms/ledger"
)

// keyRoutes answer the operator about rings of keys.
func (a *API) keyRoutes() []Route {
	key := Param{Name: "key", Doc: "name of the ring", Required: true}
	on := func(method, verb string, scope Scope, doc string, query []Param, f func(*http.Request, string) ([]ledger.KeyVersion, error)) Route {
		return Route{
			Method: method, Path: "/v1/keys" + verb, Scope: scope, Doc: doc, Query: query, Answer: []ledger.KeyVersion{},
			Do: func(r *http.Request) (any, error) {
				name := r.URL.Query().Get("key")
				if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-./") != "" {
					return nil, fmt.Errorf("the name of a key has lower-case letters, digits, - . and /, not %.64q", name)
				}
				return List(f(r, name))
			},
		}
	}
	return []Route{
		on("GET", "", ScopeRead, "Lists the versions of a key, never the key.", []Param{key}, func(_ *http.Request, ring string) ([]ledger.KeyVersion, error) {
			return a.ledger.Keys(ring)
		}),
		on("POST", "/rotate", ScopeAdmin, "Makes the next version of a key.", []Param{key}, func(r *http.Request, ring string) ([]ledger.KeyVersion, error) {
			return a.ledger.RotateKey(r.Context(), ring)
		}),
		on("POST", "/retire", ScopeAdmin, "Destroys a version of a key.", []Param{key, {Name: "version", Doc: "number of the version", Required: true, Kind: "integer"}},
			func(r *http.Request, ring string) ([]ledger.KeyVersion, error) {
				version, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 32)
				if err != nil {
					return nil, fmt.Errorf("reading a version: %.20q is no number", r.URL.Query().Get("version"))
				}
				return a.ledger.RetireKey(r.Context(), ring, uint32(version))
			}),
	}
}
