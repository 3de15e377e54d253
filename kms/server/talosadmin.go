package server

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/kms"
)

// A TalosNode is a machine of Talos as the operator sees it.
type TalosNode struct{ talosRow }

// Describe is the machine's state in a word.
func (n TalosNode) Describe() string {
	if n.Stopped && n.State != stateDeleted {
		return "quarantined"
	}
	return string(n.State)
}

// TalosNodes lists the machines of Talos, pending ones first.
func (s *Server) TalosNodes() (nodes []TalosNode, err error) {
	err = s.read(func(v view) error {
		for _, table := range []string{tableTalosPending, tableTalosNodes} {
			if err := v.talosIn(table, func(row talosRow) { nodes = append(nodes, TalosNode{row}) }); err != nil {
				return err
			}
		}
		return nil
	})
	return nodes, err
}

// ChangeTalos does one of the operator's commands to the machine of a UUID:
// approve (also one that has not asked yet; sources, if any, are the only
// networks that it may ask from), quarantine, readmit, delete.
func (s *Server) ChangeTalos(ctx context.Context, command string, uuid kms.UUID, sources []netip.Prefix) (n TalosNode, err error) {
	change, ok := talosChanges[command]
	if !ok {
		return n, fmt.Errorf("command %.20q: %w", command, ErrNotFound)
	}

	err = s.update(ctx, func(t *txn) error {
		row, found, err := t.talosNode(uuid)
		if err != nil {
			return err
		}
		if !found && command != "approve" {
			return fmt.Errorf("looking for a machine of Talos with UUID %s: %w", uuid, ErrNotFound)
		}
		if !found {
			row = talosRow{UUID: uuid, State: statePending, First: time.Now().UTC()}
		}

		if row.State == stateDeleted {
			return fmt.Errorf("%s: %w: it was deleted, and stays refused", command, ErrRefused)
		}
		t.bump()
		if why := change(&row, sources); why != "" {
			return fmt.Errorf("%s: %w: %s", command, ErrRefused, why)
		}

		n = TalosNode{row}
		if err := t.saveTalos(row); err != nil {
			return err
		}
		return t.note(Event{Event: "talos " + command, Node: uuid.String(), From: operator(ctx)})
	})

	return n, err
}

// talosChanges say why they refuse.
var talosChanges = map[string]func(*talosRow, []netip.Prefix) string{
	"approve": func(row *talosRow, sources []netip.Prefix) string {
		row.State, row.Sources = stateApproved, sources
		return ""
	},
	"quarantine": func(row *talosRow, _ []netip.Prefix) string {
		if row.State == statePending {
			return "it is not approved, so it gets nothing as it is"
		}
		row.Stopped = true
		return ""
	},
	"readmit": func(row *talosRow, _ []netip.Prefix) string {
		row.Stopped = false
		return ""
	},
	"delete": func(row *talosRow, _ []netip.Prefix) string {
		row.State, row.Keys = stateDeleted, nil
		return ""
	},
}

// talosRoutes answer the operator about the machines of Talos.
func (s *Server) talosRoutes() []route {
	routes := []route{{
		method: "GET", path: "/v1/talos/nodes", scope: ScopeRead, doc: "Lists the machines of Talos.", answer: []TalosNode{},
		do: func(*http.Request) (any, error) { return list(s.TalosNodes()) },
	}}
	for _, command := range slices.Sorted(maps.Keys(talosChanges)) {
		scope := ScopeApprove
		if command == "delete" {
			scope = ScopeAdmin
		}
		routes = append(routes, route{
			method: "POST", path: "/v1/talos/" + command, scope: scope, doc: "Does " + command + " to a machine of Talos.",
			query:  []param{{name: "uuid", doc: "SMBIOS UUID", required: true, kind: "uuid"}, {name: "source", doc: "network that it may ask from; may be repeated"}},
			answer: TalosNode{}, do: func(r *http.Request) (any, error) {
				uuid, err := kms.ParseUUID(r.URL.Query().Get("uuid"))
				if err != nil {
					return nil, err
				}
				sources, err := parsePrefixes(r.URL.Query()["source"])
				if err != nil {
					return nil, err
				}
				return s.ChangeTalos(r.Context(), command, uuid, sources)
			},
		})
	}
	return routes
}

func parsePrefixes(texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("reading a network: %.64q is none", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// keyRoutes answer the operator about rings of keys.
func (s *Server) keyRoutes() []route {
	key := param{name: "key", doc: "name of the ring", required: true}
	on := func(method, verb string, scope Scope, doc string, query []param, f func(*http.Request, string) ([]KeyVersion, error)) route {
		return route{
			method: method, path: "/v1/keys" + verb, scope: scope, doc: doc, query: query, answer: []KeyVersion{},
			do: func(r *http.Request) (any, error) {
				name := r.URL.Query().Get("key")
				if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-./") != "" {
					return nil, fmt.Errorf("the name of a key has lower-case letters, digits, - . and /, not %.64q", name)
				}
				return list(f(r, name))
			},
		}
	}
	return []route{
		on("GET", "", ScopeRead, "Lists the versions of a key, never the key.", []param{key}, func(_ *http.Request, ring string) ([]KeyVersion, error) {
			return s.Keys(ring)
		}),
		on("POST", "/rotate", ScopeAdmin, "Makes the next version of a key.", []param{key}, func(r *http.Request, ring string) ([]KeyVersion, error) {
			return s.RotateKey(r.Context(), ring)
		}),
		on("POST", "/retire", ScopeAdmin, "Destroys a version of a key.", []param{key, {name: "version", doc: "number of the version", required: true, kind: "integer"}},
			func(r *http.Request, ring string) ([]KeyVersion, error) {
				version, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 32)
				if err != nil {
					return nil, fmt.Errorf("reading a version: %.20q is no number", r.URL.Query().Get("version"))
				}
				return s.RetireKey(r.Context(), ring, uint32(version))
			}),
	}
}
