package keeper

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// A Node is a node of Kairos as the operator sees it: never its
// secrets.
type Node struct {
	machine
	Change []string `json:"changed_pcrs,omitempty"` // shown values that are not the pinned ones
	Needs  string   `json:"needs,omitempty"`        // not empty: what was asked for is not done, as others must say the same
}

// Describe is the node's state in a word.
func (n Node) Describe() string { return fleet.Describe(n.State, n.quarantined()) }

func present(row machine) Node {
	n := Node{machine: row}
	for _, pcr := range kairos.PCRs {
		index := fmt.Sprint(pcr)
		if want := row.PCRs[index]; want != "" && row.Shown != nil && row.Shown.PCRs != nil && row.Shown.PCRs[index] != want {
			n.Change = append(n.Change, "PCR "+index)
		}
	}
	return n
}

// Nodes lists the nodes of Kairos, pending ones first.
func (k *Keeper) Nodes() ([]Node, error) { return k.nodesFor(context.Background()) }

func (k *Keeper) nodesFor(ctx context.Context) (nodes []Node, err error) {
	err = k.read(func(v view) error {
		return k.theirs(ctx).All(v.View, func(row machine) error {
			nodes = append(nodes, present(row))
			return nil
		})
	})
	return nodes, err
}

// A NodePage is a part of all nodes.
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
	err = k.read(func(v view) (err error) {
		p.Next, err = k.theirs(r.Context()).Page(v.View, after, limit, func(row machine) { p.Nodes = append(p.Nodes, present(row)) })
		return err
	})
	return p, err
}

// Change does one of the operator's commands to the node of a TPMHash:
// approve, accept, renew, quarantine, readmit, delete, undelete.
func (k *Keeper) Change(ctx context.Context, command, hash string) (Node, error) {
	change, ok := changes[command]
	if !ok {
		return Node{}, fmt.Errorf("command %.20q: %w", command, ledger.ErrNotFound)
	}
	return k.change(ctx, command, hash, "", func(row *machine) error {
		if why := change(row); why != "" {
			return fleet.Refuse(why)
		}
		return nil
	})
}

func parseHash(hash string) (kms.NodeID, error) {
	id, err := kms.ParseNodeID(strings.ToLower(strings.TrimSpace(hash)))
	if err != nil {
		err = fmt.Errorf("reading a TPMHash: %w", err)
	}
	return id, err
}

// change changes one node's row and notes the command; detail may be empty.
func (k *Keeper) change(ctx context.Context, command, hash, detail string, do func(*machine) error) (Node, error) {
	id, err := parseHash(hash)
	if err != nil {
		return Node{}, err
	}
	row, err := k.fleet.Change(ctx, k.c.Ledger, fleet.Change[machine]{
		Event: "kairos " + command, Verb: command, Detail: detail, Deleted: command == "undelete",
		Find: func(t *ledger.Txn) (machine, error) {
			if err := k.c.Rules.Follow(t.View); err != nil {
				return machine{}, err
			}
			row, found, err := k.theirs(ctx).Get(t.View, id[:])
			if err == nil && !found {
				err = errUnknown(id)
			}
			return row, err
		},
		Do: func(t *ledger.Txn, row *machine) error {
			sight := terms.SightOf(ctx, k.c.Rules)
			before, shown := *row, row.looked()
			decision := terms.Decision{
				Protocol: policy.Kairos, Key: id[:], Verb: command, What: []any{shown, detail},
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
	if needs, kept := k.c.Several.Keep(ctx, terms.Subject(policy.Kairos, id[:]), id.String(), err); needs != "" || kept != nil {
		return k.waits(id, needs, kept)
	}
	return present(row), err
}

// waits is a node that nothing was done to yet.
func (k *Keeper) waits(id kms.NodeID, needs string, err error) (n Node, _ error) {
	if err == nil {
		err = k.read(func(v view) error {
			row, _, err := v.node(id)
			n = present(row)
			return err
		})
	}
	n.Needs = needs
	return n, err
}

// looked is what an operator decides about: what the node showed last,
// whatever its TPM's clock was.
func (row *machine) looked() any {
	if row.Shown == nil {
		return nil
	}
	shown := *row.Shown
	shown.Clock = 0
	return shown
}

// changes say why they refuse.
var changes = map[string]func(*machine) string{
	"approve": func(row *machine) string {
		if row.Shown == nil {
			return "it has not asked yet"
		}
		if row.State == fleet.Pending {
			row.State = fleet.Approved
			row.Renew(time.Now())
			row.takeShown()
		}
		shown := kairos.Request{Label: row.Shown.Label, Name: row.Shown.Name, UUID: row.Shown.UUID}
		if row.match(shown) == nil && row.adopt(shown) == nil {
			return "its request named no volume"
		}
		return ""
	},
	"accept": func(row *machine) string {
		if row.State != fleet.Approved || !row.takeShown() {
			return "it is not approved, or its last proof showed no boot state of its own"
		}
		return ""
	},
	"quarantine": func(row *machine) string {
		if row.State == fleet.Pending {
			return "it is not approved, so it gets nothing as it is"
		}
		row.Stopped = true
		return ""
	},
	"readmit": func(row *machine) string {
		if row.Stopped = false; row.quarantined() {
			return "its SealedVolume says quarantined; apply one that does not"
		}
		return ""
	},
	"undelete": func(row *machine) string {
		now := time.Now().UTC()
		row.State, row.First, row.Last, row.LastStatus = fleet.Pending, now, now, ""
		return ""
	},
	"renew": renew,
	"delete": func(row *machine) string {
		row.State, row.Shown = fleet.Deleted, nil
		return ""
	},
}

// takeShown takes the shown boot state for the approved one. A live
// system's is not the installed one's, and legacy nodes show none.
func (row *machine) takeShown() bool {
	if row.Shown == nil || row.Shown.PCRs == nil || row.Shown.Live {
		return false
	}
	if row.Shown.Safe {
		row.Clock = row.Shown.Clock
	}
	listed := row.PCRs
	row.PCRs = map[string]string{}
	for index, value := range row.Shown.PCRs {
		if _, ok := listed[index]; ok || listed == nil {
			row.PCRs[index] = value
		}
	}
	return true
}

var hashParam = admin.Param{Name: "hash", Doc: "TPMHash, 64 digits", Required: true}

// documentsPath takes a file of documents, which may be a fleet's.
const documentsPath = "/v1/kairos/documents"

// Routes answer the operator about the nodes of Kairos.
func (k *Keeper) Routes() []admin.Route {
	routes := []admin.Route{
		{
			Method: "GET", Path: "/v1/kairos/nodes", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists the nodes of Kairos, those that wait for approval first.", Answer: []Node{},
			Do: func(r *http.Request) (any, error) { return admin.List(k.nodesFor(r.Context())) },
		},
		{
			Method: "GET", Path: "/v1/kairos/nodes/page", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Lists a page of the nodes of Kairos.", Answer: NodePage{}, Query: admin.PageParams,
			Do: k.page,
		},
		{
			Method: "POST", Path: documentsPath, Scope: admin.ScopeAdmin, Reaching: admin.OnlyWhole, Doc: "Takes SealedVolume and Secret documents, YAML: all or none.", Limit: kairos.MaxDocuments,
			Query: []admin.Param{{Name: "replace", Doc: "whether passphrases that have another value are replaced", Kind: "boolean"}},
			Body:  []byte{}, Answer: []Applied{}, Do: func(r *http.Request) (any, error) {
				file, err := io.ReadAll(r.Body)
				defer clear(file)
				if err != nil {
					return nil, fmt.Errorf("reading documents: %w", err)
				}
				return admin.List(k.Apply(r.Context(), file, r.URL.Query().Get("replace") == "true"))
			},
		},
	}
	for _, command := range slices.Sorted(maps.Keys(changes)) {
		scope := admin.ScopeApprove
		if command == "delete" || command == "undelete" {
			scope = admin.ScopeAdmin
		}
		routes = append(routes, admin.Route{
			Method: "POST", Path: "/v1/kairos/" + command, Scope: scope, Reaching: admin.Within, Doc: "Does " + command + " to a node of Kairos.",
			Query: []admin.Param{hashParam}, Answer: Node{},
			Do: func(r *http.Request) (any, error) {
				return k.Change(r.Context(), command, r.URL.Query().Get("hash"))
			},
		})
	}
	return append(routes, k.termsRoutes()...)
}
