package keeper

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/tang"
)

// A Key is one as the operator sees it.
type Key struct {
	Thumbprint string         `json:"thumbprint"`
	Client     string         `json:"for,omitempty"` // of a client alone; empty: everybody's
	Use        string         `json:"use"`           // sign, exchange, or both
	Alg        string         `json:"alg,omitempty"`
	Curve      string         `json:"curve"`
	State      string         `json:"state"` // advertised, hidden, retired, or revoked
	Created    time.Time      `json:"created"`
	Changed    time.Time      `json:"changed"`         // since when it is in that state; of a revoked one, when it was hidden or made
	Until      *time.Time     `json:"until,omitempty"` // of a retired one: when it is destroyed; not given: it is
	Imported   bool           `json:"imported,omitempty"`
	Sources    []netip.Prefix `json:"sources,omitempty"` // of the client: if any, only from there
}

// Keys lists all keys, everybody's first, the newest ones last.
func (k *Keeper) Keys() (out []Key, err error) {
	err = k.c.Ledger.Read(func(v ledger.View) error {
		of := client{}
		return k.rows.all(v, func(row key) error {
			if row.Client != of.Name {
				of = client{}
				if _, err := v.Load(k.rows.clients, []byte(row.Client), &of); err != nil {
					return err
				}
			}
			one := describe(row, of)
			var err error
			one.Until, err = k.rows.until(v, row)
			out = append(out, one)
			return err
		})
	})
	slices.SortStableFunc(out, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), a.Created.Compare(b.Created), -cmp.Compare(a.Use, b.Use))
	})
	return out, err
}

func describe(row key, of client) Key {
	out := Key{
		Thumbprint: row.Key.Thumbprint(), Client: row.Client, Use: "both", Alg: row.Key.Alg, Curve: row.Key.Crv, State: "advertised",
		Created: row.Created, Changed: row.Created, Imported: row.Imported, Sources: of.Sources,
	}
	switch {
	case !row.Key.Exchanges():
		out.Use = "sign"
	case !row.Key.Signs():
		out.Use = "exchange"
	}
	if row.Hidden != nil {
		out.State, out.Changed = "hidden", *row.Hidden
	}
	if of.Revoked {
		out.State = "revoked"
	}
	if row.Retired != nil {
		out.State, out.Changed = "retired", *row.Retired
	}
	return out
}

// Routes answer the operator about the keys that clients of tang encrypt to.
func (k *Keeper) Routes() []admin.Route {
	of := admin.Param{Name: "for", Doc: "client whose keys are meant; none: everybody's"}
	curve := admin.Param{Name: "curve", Doc: "of the key for the exchange: P-256, P-384 or P-521; none: P-521"}
	named := admin.Param{Name: "for", Doc: "name of the client", Required: true}
	change := func(verb string, scope admin.Scope, doc string, query []admin.Param, do func(*http.Request) error) admin.Route {
		return admin.Route{Method: "POST", Path: "/v1/tang/" + verb, Scope: scope, Reaching: admin.OnlyWhole, Doc: doc, Query: query, Answer: []Key{}, Do: func(r *http.Request) (any, error) {
			if err := do(r); err != nil {
				return nil, err
			}
			return admin.List(k.Keys())
		}}
	}
	name := func(r *http.Request) string { return r.URL.Query().Get("for") }
	routes := []admin.Route{
		{Method: "GET", Path: "/v1/tang/keys", Scope: admin.ScopeRead, Reaching: admin.OnlyWhole, Doc: "Lists the keys of tang, never their private parts.", Answer: []Key{}, Do: func(*http.Request) (any, error) { return admin.List(k.Keys()) }},
		change("rotate", admin.ScopeAdmin, "Makes new keys, and hides those that there are.", []admin.Param{of, curve}, func(r *http.Request) error { return k.Rotate(r.Context(), name(r), curveOf(r)) }),
		change("new", admin.ScopeAdmin, "Makes keys for one client alone.",
			[]admin.Param{named, curve, {Name: "source", Doc: "network that it may ask from; may be repeated", Repeated: true}}, func(r *http.Request) error {
				sources, err := admin.Prefixes(r.URL.Query()["source"])
				if err != nil {
					return err
				}
				return k.New(r.Context(), name(r), curveOf(r), sources)
			}),
		change("revoke", admin.ScopeApprove, "Refuses one client that has keys of its own.", []admin.Param{named}, func(r *http.Request) error { return k.Revoke(r.Context(), name(r), true) }),
		change("readmit", admin.ScopeApprove, "Ends a revocation.", []admin.Param{named}, func(r *http.Request) error { return k.Revoke(r.Context(), name(r), false) }),
		{Method: "POST", Path: "/v1/tang/import", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Takes tang's key files, all or none.", Body: Files{}, Limit: 1 << 20, Answer: []Imported{}, Do: k.importFiles},
		{Method: "POST", Path: "/v1/tang/export", Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Gives keys as tang's files have them, in clear.", Query: []admin.Param{of}, Answer: Files{}, Do: k.exportFiles},
	}
	for verb, doc := range map[string]string{
		"hide": "Advertises a key no more; who encrypted to it is still answered.", "show": "Advertises a key again.",
		"retire": "Takes a key out of use, and destroys it once the grace has ended: what was encrypted to it is lost.", "undelete": "Gives back a key that was retired, within the grace.",
	} {
		query := []admin.Param{{Name: "key", Doc: "thumbprint of the key, by any of tang's hashes", Required: true}}
		if verb == "retire" {
			query = append(query, admin.NowParam)
		}
		routes = append(routes, change(verb, admin.ScopeAdmin, doc, query, func(r *http.Request) error {
			now, err := admin.Now(r)
			if err != nil {
				return err
			}
			return k.Change(r.Context(), verb, r.URL.Query().Get("key"), now)
		}))
	}
	slices.SortFunc(routes, func(a, b admin.Route) int { return cmp.Compare(a.Path, b.Path) })
	return routes
}

// curveOf is the curve that a request names, or tang's.
func curveOf(r *http.Request) string { return cmp.Or(r.URL.Query().Get("curve"), tang.DefaultCurve) }

func (k *Keeper) importFiles(r *http.Request) (any, error) {
	var in Files
	if err := strictjson.Decode(r.Body, &in); err != nil {
		return nil, err
	}
	return admin.List(k.Import(r.Context(), in.Files))
}

func (k *Keeper) exportFiles(r *http.Request) (any, error) {
	files, err := k.Export(r.Context(), r.URL.Query().Get("for"))
	return Files{files}, err
}
