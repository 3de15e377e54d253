package keeper

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// A Node is a machine of Talos as the operator sees it.
type Node struct {
	machine
	Needs string `json:"needs,omitempty"` // not empty: what was asked for is not done, as others must say the same
}

// Describe is the machine's state in a word.
func (n Node) Describe() string { return fleet.Describe(n.State, n.Stopped) }

// Nodes lists the machines of Talos, pending ones first.
func (k *Keeper) Nodes() ([]Node, error) { return k.nodesFor(context.Background()) }

func (k *Keeper) nodesFor(ctx context.Context) (nodes []Node, err error) {
	err = k.read(func(v ledger.View) error {
		return k.theirs(ctx).All(v, func(row machine) error {
			nodes = append(nodes, Node{machine: row})
			return nil
		})
	})
	return nodes, err
}

// A NodePage is a part of all machines.
type NodePage struct {
	Nodes []Node `json:"nodes"`
	Next  string `json:"next,omitempty"` // cursor of the next page; empty: this is the last one
}

func (k *Keeper) page(r *http.Request) (any, error) {
	after, limit, err := admin.Paging(r)
	if err != nil {
		return nil, err
	}
	p := NodePage{Nodes: []Node{}}
	err = k.read(func(v ledger.View) (err error) {
		p.Next, err = k.theirs(r.Context()).Page(v, after, limit, func(row machine) { p.Nodes = append(p.Nodes, Node{machine: row}) })
		return err
	})
	return p, err
}

// Change does one of the operator's commands to the machine of a UUID:
// approve (also one that has not asked yet; sources, if any, are the only
// networks that it may ask from), renew, quarantine, readmit, delete, undelete.
func (k *Keeper) Change(ctx context.Context, command string, uuid kms.UUID, sources []netip.Prefix) (Node, error) {
	change, ok := changes[command]
	if !ok {
		return Node{}, fmt.Errorf("command %.20q: %w", command, ledger.ErrNotFound)
	}

	what := ""
	if len(sources) > 0 {
		what = fmt.Sprint(sources)
	}
	return k.change(ctx, command, uuid, what, func(row *machine) error {
		if why := change(row, sources); why != "" {
			return fleet.Refuse(why)
		}
		return nil
	})
}

// change changes one machine's row and notes the command; what it does may be empty.
func (k *Keeper) change(ctx context.Context, command string, uuid kms.UUID, what string, do func(*machine) error) (Node, error) {
	row, err := k.rows.fleet.Change(ctx, k.c.Ledger, fleet.Change[machine]{
		Event: "talos " + command, Verb: command, Detail: what, Deleted: command == "undelete",
		Find: func(t *ledger.Txn) (machine, error) {
			if err := k.c.Rules.Follow(t.View); err != nil {
				return machine{}, err
			}
			row, found, err := k.theirs(ctx).Get(t.View, uuid[:])
			if err == nil && !found && (command != "approve" || !terms.SightOf(ctx, k.c.Rules).Whole()) {
				err = errUnknown(uuid)
			}
			if !found {
				row = machine{UUID: uuid, State: fleet.Pending, First: time.Now().UTC()}
			}
			return row, err
		},
		Do: func(t *ledger.Txn, row *machine) error {
			sight := terms.SightOf(ctx, k.c.Rules)
			before := *row
			decision := terms.Decision{
				Protocol: policy.Talos, Key: uuid[:], Verb: command, What: what,
				Machine: before.sighted(), Before: before.Terms, Several: k.c.Several, Rules: k.c.Rules,
			}
			if err := decision.TakeIn(ctx, t.View, &row.Terms); err != nil {
				return err
			}
			if err := do(row); err != nil {
				return err
			}
			if err := sight.Keeps(before.sighted(), row.sighted()); err != nil && command == "set" {
				return err
			}
			decision.After = row.Terms
			return decision.Agreed(ctx, t)
		},
	})
	if needs, kept := k.c.Several.Keep(ctx, terms.Subject(policy.Talos, uuid[:]), uuid.String(), err); needs != "" || kept != nil {
		return k.waits(uuid, needs, kept)
	}
	return Node{machine: row}, err
}

// waits is a machine that nothing was done to yet.
func (k *Keeper) waits(uuid kms.UUID, needs string, err error) (n Node, _ error) {
	if err == nil {
		err = k.c.Ledger.Read(func(v ledger.View) error {
			n.machine, _, err = k.rows.fleet.Get(v, uuid[:])
			return err
		})
	}
	n.UUID, n.Needs = uuid, needs
	return n, err
}

// changes say why they refuse.
var changes = map[string]func(*machine, []netip.Prefix) string{
	// A machine that has networks keeps them, unless others are named.
	"approve": func(row *machine, sources []netip.Prefix) string {
		row.State = fleet.Approved
		row.Renew(time.Now())
		if len(sources) > 0 {
			row.Sources = sources
		}
		return ""
	},
	"quarantine": func(row *machine, _ []netip.Prefix) string {
		if row.State == fleet.Pending {
			return "it is not approved, so it gets nothing as it is"
		}
		row.Stopped = true
		return ""
	},
	"readmit": func(row *machine, _ []netip.Prefix) string {
		row.Stopped = false
		return ""
	},
	"renew": func(row *machine, _ []netip.Prefix) string { return renew(row) },
	"undelete": func(row *machine, _ []netip.Prefix) string {
		now := time.Now().UTC()
		row.State, row.First, row.Last, row.LastStatus = fleet.Pending, now, now, ""
		return ""
	},
	"delete": func(row *machine, _ []netip.Prefix) string {
		row.State, row.Keys = fleet.Deleted, nil
		return ""
	},
}

// Routes answer the operator about the machines of Talos.
func (k *Keeper) Routes() []admin.Route {
	routes := []admin.Route{{
		Method: "GET", Path: "/v1/talos/nodes", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists the machines of Talos.", Answer: []Node{},
		Do: func(r *http.Request) (any, error) { return admin.List(k.nodesFor(r.Context())) },
	}, {
		Method: "GET", Path: "/v1/talos/nodes/page", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists a page of the machines of Talos.", Answer: NodePage{}, Query: admin.PageParams,
		Do: k.page,
	}}
	for _, command := range slices.Sorted(maps.Keys(changes)) {
		scope := admin.ScopeApprove
		if command == "delete" || command == "undelete" {
			scope = admin.ScopeAdmin
		}
		routes = append(routes, admin.Route{
			Method: "POST", Path: "/v1/talos/" + command, Scope: scope, Reaching: admin.Within, Doc: "Does " + command + " to a machine of Talos.",
			Query:  []admin.Param{uuidParam, {Name: "source", Doc: "network that it may ask from; may be repeated", Repeated: true}},
			Answer: Node{}, Do: func(r *http.Request) (any, error) {
				uuid, err := kms.ParseUUID(r.URL.Query().Get("uuid"))
				if err != nil {
					return nil, err
				}
				sources, err := admin.Prefixes(r.URL.Query()["source"])
				if err != nil {
					return nil, err
				}
				// A restriction is not lifted by who may only approve.
				if command == "approve" && !admin.May(r.Context(), admin.ScopeAdmin) {
					if err := k.restricted(r.Context(), uuid, sources); err != nil {
						return nil, err
					}
				}
				return k.Change(r.Context(), command, uuid, sources)
			},
		})
	}
	return append(routes, k.termsRoutes()...)
}

var uuidParam = admin.Param{Name: "uuid", Doc: "SMBIOS UUID", Required: true, Kind: "uuid"}

// restricted refuses to give a machine that has networks others than those.
func (k *Keeper) restricted(ctx context.Context, uuid kms.UUID, sources []netip.Prefix) error {
	return k.read(func(v ledger.View) error {
		row, found, err := k.theirs(ctx).Get(v, uuid[:])
		if err != nil || !found || len(row.Sources) == 0 || len(sources) == 0 || slices.Equal(row.Sources, sources) {
			return err
		}
		return fmt.Errorf("approving with other networks than %v: %w: it needs scope %s", row.Sources, admin.ErrScope, admin.ScopeAdmin)
	})
}
