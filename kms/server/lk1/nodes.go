package lk1

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// A Node is a node as the operator sees it.
type Node struct {
	nodeRow
	Words  string        `json:"words"`
	Seen   string        `json:"shown_digest,omitempty"` // of what it showed last: give it back with approve and accept
	Bound  []kms.UUID    `json:"bound,omitempty"`
	Asks   []Asked       `json:"asks,omitempty"`         // volumes that it asks for and does not have
	Change []string      `json:"changed_pcrs,omitempty"` // shown values that are not the pinned ones
	Cover  *policy.Cover `json:"cover,omitempty"`        // what its boot state covers; of one that waits, what approving it would
	Says   string        `json:"boot_says,omitempty"`    // in words: how its boot differs from the approved one; of one that waits, what it booted
	Boot   []string      `json:"boot_lines,omitempty"`   // what it booted last, by its event log
	Agreed []Agreement   `json:"agreed,omitempty"`       // of one node: what people said, where several must say the same
	Older  []kms.UUID    `json:"older,omitempty"`        // of one node: volumes whose disk is older than its last rotation
	Beat   time.Time     `json:"last_beat,omitzero"`     // what its last beat has proven
	Needs  string        `json:"needs,omitempty"`        // after a change: it is not done yet, and who must say the same
}

// Describe is the node's state in a word or two.
func (n Node) Describe() string {
	switch {
	case n.Quarantined && n.State != fleet.Deleted:
		return "quarantined"
	case n.State == fleet.Approved && !n.Lapsed.IsZero():
		return "lapsed"
	case n.State == fleet.Approved && !n.Vanished.IsZero():
		return "vanished"
	}
	return string(n.State)
}

// Nodes lists all nodes, pending ones first.
func (s *Service) Nodes() ([]Node, error) { return s.nodesFor(context.Background()) }

func (s *Service) nodesFor(ctx context.Context) (nodes []Node, err error) {
	err = s.see(ctx, func(v view) error {
		r, err := v.rivals()
		if err == nil {
			err = v.lookAtAll()
		}
		if err != nil {
			return err
		}
		return v.theirs().All(v.View, func(row nodeRow) error {
			n, err := v.presentAsking(row, r)
			nodes = append(nodes, n)
			return err
		})
	})
	return nodes, err
}

// A NodePage is some of the nodes.
type NodePage struct {
	Nodes []Node `json:"nodes"`
	Next  string `json:"next,omitempty"` // cursor of the next page; empty: this is the last one
}

// NodesPage lists up to so many nodes behind a cursor, pending ones first.
func (s *Service) NodesPage(ctx context.Context, cursor string, limit int) (p NodePage, err error) {
	p.Nodes = []Node{}
	err = s.see(ctx, func(v view) error {
		r, err := v.rivals()
		if err == nil {
			err = v.lookAtAll()
		}
		if err != nil {
			return err
		}
		var failed error
		p.Next, err = v.theirs().Page(v.View, cursor, limit, func(row nodeRow) {
			n, err := v.presentAsking(row, r)
			failed = cmp.Or(failed, err)
			p.Nodes = append(p.Nodes, n)
		})
		return cmp.Or(err, failed)
	})
	return p, err
}

// presentAsking is present, with the volumes that the node asks for.
func (v view) presentAsking(row nodeRow, r rivals) (n Node, err error) {
	n = v.present(row)
	if row.State != fleet.Deleted {
		n.Asks, err = v.asks(row, r)
	}
	return n, err
}

func (v view) present(row nodeRow) Node {
	n := Node{nodeRow: row, Words: row.ID.Words(), Seen: row.Shown.digest(), Cover: v.cover(&row), Says: v.s.explanation(&row), Boot: v.s.bootLines(&row), Beat: v.beatOf(row.ID)}
	for _, uuid := range v.uuidsOf(row.ID) {
		if owner, bound, err := v.owner(uuid); err == nil && bound && owner == row.ID {
			n.Bound = append(n.Bound, uuid)
		}
	}
	for pcr, want := range row.Pins {
		if row.Shown != nil && row.Shown.Boot && row.Shown.PCRs[pcr] != want {
			n.Change = append(n.Change, fmt.Sprintf("PCR %d", pcr))
		}
	}
	slices.Sort(n.Change)
	return n
}

// Node finds one node, as find does.
func (s *Service) Node(who string) (Node, error) { return s.nodeFor(context.Background(), who) }

func (s *Service) nodeFor(ctx context.Context, who string) (n Node, err error) {
	err = s.see(ctx, func(v view) error {
		row, err := v.find(who)
		if err != nil {
			return err
		}
		r, err := v.rivals()
		if err != nil {
			return err
		}
		if n, err = v.presentAsking(row, r); err != nil {
			return err
		}
		for _, uuid := range n.Bound {
			volume, _, err := v.volume(row.ID, uuid)
			if err != nil {
				return err
			}
			if volume.Older != nil {
				n.Older = append(n.Older, uuid)
			}
		}
		n.Agreed, err = v.agreements(row.ID, s.ledger.Wall())
		return err
	})
	return n, err
}

// resolve finds whom an operator means before the transaction that changes
// him: looking for words reads all nodes, which a transaction that has to be
// the first to write must not do.
func (s *Service) resolve(ctx context.Context, who string) (kms.NodeID, error) {
	if id, err := parseID(who); err == nil {
		return id, nil
	}
	var id kms.NodeID
	err := s.see(ctx, func(v view) error {
		row, err := v.find(who)
		id = row.ID
		return err
	})
	return id, err
}

func parseID(who string) (kms.NodeID, error) {
	return kms.ParseNodeID(strings.ToLower(strings.TrimSpace(who)))
}

// known is a node that there is, to who administers.
func (v view) known(id kms.NodeID) (nodeRow, error) {
	row, found, err := v.theirs().Get(v.View, id[:])
	if err == nil && !found {
		err = fmt.Errorf("looking for node %s: %w", id, ledger.ErrNotFound)
	}
	return row, err
}

// Waits tells whether the operator has to decide about the node: nobody
// approved it, its approval must be renewed, or it booted what was not
// approved.
func (n Node) Waits() bool { return n.waits() }
