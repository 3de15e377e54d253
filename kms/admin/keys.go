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
			Method: method, Path: "/v1/keys" + verb, Scope: scope, Reaching: OnlyWhole, Doc: doc, Query: query, Answer: []ledger.KeyVersion{},
			Do: func(r *http.Request) (any, error) {
				name := r.URL.Query().Get("key")
				if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-./") != "" {
					return nil, fmt.Errorf("the name of a key has lower-case letters, digits, - . and /, not %.64q", name)
				}
				return List(f(r, name))
			},
		}
	}
	version := func(change func(r *http.Request, ring string, version uint32) ([]ledger.KeyVersion, error)) func(*http.Request, string) ([]ledger.KeyVersion, error) {
		return func(r *http.Request, ring string) ([]ledger.KeyVersion, error) {
			n, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("reading a version: %.20q is no number", r.URL.Query().Get("version"))
			}
			return change(r, ring, uint32(n))
		}
	}
	number := Param{Name: "version", Doc: "number of the version", Required: true, Kind: "integer"}
	return []Route{
		on("GET", "", ScopeRead, "Lists the versions of a key, never the key.", []Param{key}, func(_ *http.Request, ring string) ([]ledger.KeyVersion, error) {
			return a.ledger.Keys(ring)
		}),
		on("POST", "/rotate", ScopeAdmin, "Makes the next version of a key.", []Param{key}, func(r *http.Request, ring string) ([]ledger.KeyVersion, error) {
			return a.ledger.RotateKey(r.Context(), ring)
		}),
		on("POST", "/retire", ScopeAdmin, "Takes a version of a key out of use, and destroys it once the grace has ended.", []Param{key, number, NowParam},
			version(func(r *http.Request, ring string, n uint32) ([]ledger.KeyVersion, error) {
				now, err := Now(r)
				if err != nil {
					return nil, err
				}
				return a.ledger.RetireKey(r.Context(), ring, n, now)
			})),
		on("POST", "/undelete", ScopeAdmin, "Gives back a version of a key that was retired, within the grace.", []Param{key, number},
			version(func(r *http.Request, ring string, n uint32) ([]ledger.KeyVersion, error) {
				return a.ledger.UndeleteKey(r.Context(), ring, n)
			})),
	}
}
