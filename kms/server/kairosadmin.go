package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"latchkey/kms"
	"latchkey/kms/server/kairos"
)

// A KairosNode is a node of Kairos as the operator sees it: never its
// secrets.
type KairosNode struct {
	kairosRow
	Change []string `json:"changed_pcrs,omitempty"` // shown values that are not the pinned ones
}

// Describe is the node's state in a word.
func (n KairosNode) Describe() string {
	if n.quarantined() && n.State != stateDeleted {
		return "quarantined"
	}
	return string(n.State)
}

func presentKairos(row kairosRow) KairosNode {
	n := KairosNode{kairosRow: row}
	for _, pcr := range kairos.PCRs {
		index := fmt.Sprint(pcr)
		if want := row.PCRs[index]; want != "" && row.Shown != nil && row.Shown.PCRs != nil && row.Shown.PCRs[index] != want {
			n.Change = append(n.Change, "PCR "+index)
		}
	}
	return n
}

// KairosNodes lists the nodes of Kairos, pending ones first.
func (s *Server) KairosNodes() (nodes []KairosNode, err error) {
	err = s.read(func(v view) error {
		for _, table := range []string{tableKairosPending, tableKairosNodes} {
			if err := v.kairosIn(table, func(row kairosRow) { nodes = append(nodes, presentKairos(row)) }); err != nil {
				return err
			}
		}
		return nil
	})
	return nodes, err
}

// ChangeKairos does one of the operator's commands to the node of a
// TPMHash: approve, accept, quarantine, readmit, delete.
func (s *Server) ChangeKairos(ctx context.Context, command, hash string) (n KairosNode, err error) {
	change, ok := kairosChanges[command]
	if !ok {
		return n, fmt.Errorf("command %.20q: %w", command, ErrNotFound)
	}

	id, err := kms.ParseNodeID(strings.ToLower(strings.TrimSpace(hash)))
	if err != nil {
		return n, fmt.Errorf("reading a TPMHash: %w", err)
	}

	err = s.update(ctx, func(t *txn) error {
		row, found, err := t.kairosNode(id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("looking for TPMHash %s: %w", id, ErrNotFound)
		}

		if row.State == stateDeleted {
			return fmt.Errorf("%s: %w: it was deleted, and stays refused", command, ErrRefused)
		}
		t.bump()
		if why := change(&row); why != "" {
			return fmt.Errorf("%s: %w: %s", command, ErrRefused, why)
		}

		n = presentKairos(row)
		if err := t.saveKairos(row); err != nil {
			return err
		}
		return t.note(Event{Event: "kairos " + command, Node: id.String(), From: operator(ctx)})
	})

	return n, err
}

// kairosChanges say why they refuse.
var kairosChanges = map[string]func(*kairosRow) string{
	"approve": func(row *kairosRow) string {
		if row.Shown == nil {
			return "it has not asked yet"
		}
		if row.State == statePending {
			row.State = stateApproved
			row.takeShown()
		}
		shown := kairos.Request{Label: row.Shown.Label, Name: row.Shown.Name, UUID: row.Shown.UUID}
		if row.match(shown) == nil && row.adopt(shown) == nil {
			return "its request named no volume"
		}
		return ""
	},
	"accept": func(row *kairosRow) string {
		if row.State != stateApproved || !row.takeShown() {
			return "it is not approved, or its last proof showed no boot state of its own"
		}
		return ""
	},
	"quarantine": func(row *kairosRow) string {
		if row.State == statePending {
			return "it is not approved, so it gets nothing as it is"
		}
		row.Stopped = true
		return ""
	},
	"readmit": func(row *kairosRow) string {
		if row.Stopped = false; row.quarantined() {
			return "its SealedVolume says quarantined; apply one that does not"
		}
		return ""
	},
	"delete": func(row *kairosRow) string {
		row.State, row.Shown = stateDeleted, nil
		return ""
	},
}

// takeShown takes the shown boot state for the approved one. A live
// system's is not the installed one's, and legacy nodes show none.
func (row *kairosRow) takeShown() bool {
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

// documentsPath takes a file of documents, which may be a fleet's.
const documentsPath = "/v1/kairos/documents"

// kairosRoutes answer the operator about the nodes of Kairos.
func (s *Server) kairosRoutes() []route {
	routes := []route{
		{
			method: "GET", path: "/v1/kairos/nodes", scope: ScopeRead, doc: "Lists the nodes of Kairos, those that wait for approval first.", answer: []KairosNode{},
			do: func(*http.Request) (any, error) { return list(s.KairosNodes()) },
		},
		{
			method: "POST", path: documentsPath, scope: ScopeAdmin, doc: "Takes SealedVolume and Secret documents, YAML: all or none.", limit: kairos.MaxDocuments,
			query: []param{{name: "replace", doc: "whether passphrases that have another value are replaced", kind: "boolean"}},
			body:  []byte{}, answer: []Applied{}, do: func(r *http.Request) (any, error) {
				file, err := io.ReadAll(r.Body)
				defer clear(file)
				if err != nil {
					return nil, fmt.Errorf("reading documents: %w", err)
				}
				return list(s.ApplyKairos(r.Context(), file, r.URL.Query().Get("replace") == "true"))
			},
		},
	}
	for _, command := range slices.Sorted(maps.Keys(kairosChanges)) {
		scope := ScopeApprove
		if command == "delete" {
			scope = ScopeAdmin
		}
		routes = append(routes, route{
			method: "POST", path: "/v1/kairos/" + command, scope: scope, doc: "Does " + command + " to a node of Kairos.",
			query: []param{{name: "hash", doc: "TPMHash, 64 digits", required: true}}, answer: KairosNode{},
			do: func(r *http.Request) (any, error) {
				return s.ChangeKairos(r.Context(), command, r.URL.Query().Get("hash"))
			},
		})
	}
	return routes
}
