package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
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
		return t.note(Event{Event: "talos " + command, Node: uuid.String(), From: "operator"})
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

// handleTalosAdmin answers the operator about the machines of Talos.
func (s *Server) handleTalosAdmin(handle func(string, func(*http.Request) (any, error))) {
	handle("GET /v1/talos/nodes", func(*http.Request) (any, error) { return list(s.TalosNodes()) })
	for command := range talosChanges {
		handle("POST /v1/talos/"+command, func(r *http.Request) (any, error) {
			uuid, err := kms.ParseUUID(r.URL.Query().Get("uuid"))
			if err != nil {
				return nil, err
			}
			sources, err := parsePrefixes(r.URL.Query()["source"])
			if err != nil {
				return nil, err
			}
			return s.ChangeTalos(r.Context(), command, uuid, sources)
		})
	}
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

// handleKeyAdmin answers the operator about rings of keys.
func (s *Server) handleKeyAdmin(handle func(string, func(*http.Request) (any, error))) {
	name := func(r *http.Request) (string, error) {
		name := r.URL.Query().Get("key")
		if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-./") != "" {
			return "", fmt.Errorf("the name of a key has lower-case letters, digits, - . and /, not %.64q", name)
		}
		return name, nil
	}
	handle("GET /v1/keys", func(r *http.Request) (any, error) {
		ring, err := name(r)
		if err != nil {
			return nil, err
		}
		return list(s.Keys(ring))
	})
	handle("POST /v1/keys/rotate", func(r *http.Request) (any, error) {
		ring, err := name(r)
		if err != nil {
			return nil, err
		}
		return list(s.RotateKey(r.Context(), ring))
	})
	handle("POST /v1/keys/retire", func(r *http.Request) (any, error) {
		ring, err := name(r)
		if err != nil {
			return nil, err
		}
		version, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading a version: %.20q is no number", r.URL.Query().Get("version"))
		}
		return list(s.RetireKey(r.Context(), ring, uint32(version)))
	})
}
