package lk1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/terms"
)

// An Approval says what to approve.
type Approval struct {
	Who        string     `json:"who"`        // six words, or an id; an unknown whole id is registered beforehand
	NoPCRs     bool       `json:"no_pcrs"`    // pin no boot state
	Unmeasured bool       `json:"unmeasured"` // take a boot whose initrd nothing measures
	Release    string     `json:"release"`    // bind it to this release; empty: to the one that it booted, if that is known
	Move       bool       `json:"move"`       // take volumes over from other nodes: those that are named, or all that Seen covers
	Secrets    Secrets    `json:"secrets"`    // with Move: what becomes of what the other nodes stored
	Bind       bool       `json:"bind"`       // of a node that is approved: bind what it showed since
	Volumes    []kms.UUID `json:"volumes"`    // to bind whether it showed them or not, and whatever their standing
	Seen       string     `json:"shown"`      // if it is not empty: Node.Seen of what the operator looked at
}

// Approved is what an approval did.
type Approved struct {
	Node    Node       `json:"node"`
	Bound   []kms.UUID `json:"bound"`
	Moved   []kms.UUID `json:"moved,omitempty"`
	Sealed  []kms.UUID `json:"sealed,omitempty"` // of those moved: their secret is of no use to this node's TPM
	Left    []kms.UUID `json:"left,omitempty"`   // owned by other nodes
	Held    []Asked    `json:"held,omitempty"`   // not bound, because nobody named them or looked at them
	Pinned  []int      `json:"pinned_pcrs"`
	Warning string     `json:"warning,omitempty"`
}

// ApproveNode approves a node: it binds the volumes that the node showed and
// no other owns, and pins the boot state that it showed. A node may ask for
// more between the operator's look and his word: what would give it a secret
// that is there, or another's volume, is bound only if it is named or covered
// by Seen. One that is approved already is renewed, and gets no volume that
// was not asked for.
func (s *Service) ApproveNode(ctx context.Context, a Approval) (out Approved, err error) {
	id, err := s.candidate(ctx, a)
	if err != nil {
		return Approved{}, err
	}
	rivals, err := s.rivals()
	if err != nil {
		return Approved{}, err
	}
	err = s.update(ctx, func(t *txn) (err error) {
		out, err = t.approve(ctx, id, a, rivals)
		return err
	})
	if few, ok := errors.AsType[*tooFew](err); ok {
		n, err := s.keep(ctx, id, few)
		return Approved{Node: n}, err
	}
	return out, err
}

// approve does it, as the last of as many people as must want it.
func (t *txn) approve(ctx context.Context, id kms.NodeID, a Approval, rivals rivals) (out Approved, err error) {
	row, found, err := t.candidate(id)
	if err != nil {
		return out, err
	}
	if row, err = register(row, found, id, a); err != nil {
		return out, err
	}
	if err := row.stillShows(a.Seen); err != nil {
		return out, fmt.Errorf("approving node %s: %w", row.ID.Words(), err)
	}

	if row.State == fleet.Deleted {
		return out, fmt.Errorf("approving node %s: %w: it was deleted, and stays refused until node undelete lets it ask again", row.ID.Words(), ledger.ErrRefused)
	}
	if t.s.enroll == fleet.Cert && row.State == fleet.Pending && row.Certificate == nil {
		return out, fmt.Errorf("approving node %s: %w: it has shown no EK certificate of a trusted vendor yet", row.ID.Words(), ledger.ErrRefused)
	}

	t.Bump()

	// A node that is approved already keeps its pins, too: only accept
	// takes another boot state.
	if row.State != fleet.Approved || a.NoPCRs {
		if err := t.bindRelease(&row, a.Release); err != nil {
			return out, fmt.Errorf("approving node %s: %w", row.ID.Words(), err)
		}
		if err := t.pin(&row, a, &out); err != nil {
			return out, fmt.Errorf("approving node %s: %w", row.ID.Words(), err)
		}
	} else {
		row.Unmeasured = row.Unmeasured || a.Unmeasured // for the next accept
	}
	bind := row.State != fleet.Approved || a.Bind || a.Move
	need, what := t.people(&row), a.what(&row)
	said, err := t.reachesOf(id, "approve", what)
	if err != nil {
		return out, err
	}
	terms.TakeIn(ctx, t.s, row.machine(), &row.Terms, said)
	row.State = fleet.Approved
	row.Renew(time.Now())
	row.expect()
	if err := t.bindAll(row, binding{Approval: a, shown: bind, rivals: rivals}, &out); err != nil {
		return out, err
	}

	if err := t.together(ctx, &row, max(need, t.people(&row)), "approve", what); err != nil {
		return out, err
	}
	if err := t.saveNode(row); err != nil {
		return out, err
	}
	out.Node = t.present(row)
	return out, t.Note(ledger.Event{
		Event: "approve", Node: row.ID.String(), Volumes: append(out.Bound, out.Moved...), From: ledger.Who(ctx),
		Detail: pinned(out.Pinned, row.Unmeasured),
	})
}

// pinned is what the audit log says of a boot state that was taken.
func pinned(pcrs []int, unmeasured bool) string {
	if unmeasured {
		return fmt.Sprintf("pinned PCRs %v; nothing measures its initrd", pcrs)
	}
	return fmt.Sprintf("pinned PCRs %v", pcrs)
}

// candidate is the node to approve: one that is there, or an id that is
// registered before its node ever asked.
func (s *Service) candidate(ctx context.Context, a Approval) (kms.NodeID, error) {
	if n := len(strings.Fields(strings.ReplaceAll(a.Who, "-", " "))); n != 6 && len(strings.TrimSpace(a.Who)) != 64 {
		// A part of an id is soon found again by somebody who makes keys.
		return kms.NodeID{}, fmt.Errorf("approving %q: %w: give all six words, or all 64 digits of the id", a.Who, ledger.ErrRefused)
	}
	return s.resolve(ctx, a.Who)
}

// candidate is the node to approve. Who does not administer all machines
// registers none beforehand: whose it is, nobody could tell.
func (t *txn) candidate(id kms.NodeID) (row nodeRow, found bool, err error) {
	if t.sight.Whole() {
		return t.node(id)
	}
	row, err = t.known(id)
	return row, err == nil, err
}

// register makes the row of an id that is not known yet.
func register(row nodeRow, found bool, id kms.NodeID, a Approval) (nodeRow, error) {
	if !a.NoPCRs && row.Shown == nil && row.State != fleet.Approved && row.State != fleet.Deleted {
		return row, fmt.Errorf("approving node %s: %w: it has shown no boot state yet; wait until it asks, or say --pcr none", id.Words(), ledger.ErrRefused)
	}
	if found {
		return row, nil
	}
	return nodeRow{ID: id, First: time.Now().UTC()}, nil
}
