package lk1

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// An Approval says what to approve.
type Approval struct {
	Who        string     `json:"who"`        // six words, or an id; an unknown whole id is registered beforehand
	NoPCRs     bool       `json:"no_pcrs"`    // pin no boot state
	Unmeasured bool       `json:"unmeasured"` // take a boot whose initrd nothing measures
	Move       bool       `json:"move"`       // take volumes over from other nodes
	Bind       bool       `json:"bind"`       // of a node that is approved: bind what it showed since
	Volumes    []kms.UUID `json:"volumes"`    // to bind whether it showed them or not
	Seen       string     `json:"shown"`      // if it is not empty: Node.Seen of what the operator looked at
}

// Approved is what an approval did.
type Approved struct {
	Node    Node       `json:"node"`
	Bound   []kms.UUID `json:"bound"`
	Moved   []kms.UUID `json:"moved,omitempty"`
	Sealed  []kms.UUID `json:"sealed,omitempty"` // of those moved: their secret is of no use to this node's TPM
	Left    []kms.UUID `json:"left,omitempty"`   // owned by other nodes
	Pinned  []int      `json:"pinned_pcrs"`
	Warning string     `json:"warning,omitempty"`
}

// ApproveNode approves a node: it binds exactly the volumes that the node
// showed and no other owns, and pins the boot state that it showed. One that
// is approved already is renewed, and gets no volume that was not asked for:
// it may have asked for others' meanwhile.
func (s *Service) ApproveNode(ctx context.Context, a Approval) (out Approved, err error) {
	id, err := s.candidate(a)
	if err != nil {
		return Approved{}, err
	}
	err = s.update(ctx, func(t *txn) error {
		out = Approved{}
		row, found, err := t.node(id)
		if err != nil {
			return err
		}
		if row, err = register(row, found, id, a); err != nil {
			return err
		}
		if err := row.stillShows(a.Seen); err != nil {
			return fmt.Errorf("approving node %s: %w", row.ID.Words(), err)
		}

		if row.State == fleet.Deleted {
			return fmt.Errorf("approving node %s: %w: it was deleted, and stays refused", row.ID.Words(), ledger.ErrRefused)
		}
		if s.enroll == fleet.Cert && row.State == fleet.Pending && row.Certificate == nil {
			return fmt.Errorf("approving node %s: %w: it has shown no EK certificate of a trusted vendor yet", row.ID.Words(), ledger.ErrRefused)
		}

		t.Bump()

		// A node that is approved already keeps its pins, too: only accept
		// takes another boot state.
		if row.State != fleet.Approved || a.NoPCRs {
			if err := t.s.pin(&row, a, &out); err != nil {
				return fmt.Errorf("approving node %s: %w", row.ID.Words(), err)
			}
		} else {
			row.Unmeasured = row.Unmeasured || a.Unmeasured // for the next accept
		}
		bind := row.State != fleet.Approved || a.Bind || a.Move
		row.State, row.Approved, row.Lapsed = fleet.Approved, time.Now().UTC(), time.Time{}
		if err := t.bindAll(row, a, bind, &out); err != nil {
			return err
		}

		if err := t.saveNode(row); err != nil {
			return err
		}
		out.Node = t.present(row)
		return t.Note(ledger.Event{
			Event: "approve", Node: row.ID.String(), Volumes: append(out.Bound, out.Moved...), From: ledger.Who(ctx),
			Detail: pinned(out.Pinned, row.Unmeasured),
		})
	})
	return out, err
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
func (s *Service) candidate(a Approval) (kms.NodeID, error) {
	if n := len(strings.Fields(strings.ReplaceAll(a.Who, "-", " "))); n != 6 && len(strings.TrimSpace(a.Who)) != 64 {
		// A part of an id is soon found again by somebody who makes keys.
		return kms.NodeID{}, fmt.Errorf("approving %q: %w: give all six words, or all 64 digits of the id", a.Who, ledger.ErrRefused)
	}
	return s.resolve(a.Who)
}

// register makes the row of an id that is not known yet.
func register(row nodeRow, found bool, id kms.NodeID, a Approval) (nodeRow, error) {
	if found {
		return row, nil
	}
	if !a.NoPCRs {
		return row, fmt.Errorf("registering node %s: %w: it has shown no boot state yet; say --pcr none", id, ledger.ErrRefused)
	}
	return nodeRow{ID: id, First: time.Now().UTC()}, nil
}

// bindAll binds the volumes that are named and, if those count, the ones that
// the node showed.
func (t *txn) bindAll(row nodeRow, a Approval, shown bool, out *Approved) error {
	uuids := slices.Clone(a.Volumes)
	if shown && row.Shown != nil {
		for _, v := range row.Shown.Volumes {
			uuids = append(uuids, v.UUID)
		}
	}
	if shown {
		uuids = append(uuids, t.uuidsOf(row.ID)...)
	}
	slices.SortFunc(uuids, func(a, b kms.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, uuid := range slices.Compact(uuids) {
		if err := t.bind(row, uuid, a.Move, out); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) bind(row nodeRow, uuid kms.UUID, move bool, out *Approved) error {
	owner, bound, err := t.owner(uuid)
	if err != nil {
		return err
	}

	from := nobody
	switch {
	case bound && owner == row.ID:
		return nil
	case bound && !move:
		out.Left = append(out.Left, uuid)
		return nil
	case bound:
		from = owner
		out.Moved = append(out.Moved, uuid)
	default:
		out.Bound = append(out.Bound, uuid)
	}

	volume, err := t.take(from, row.ID, uuid)
	if err != nil {
		return err
	}

	if d := row.shownDigest(uuid); volume.Digest == nil && d != nil {
		volume.Digest = d
	}
	if volume.Kind != 0 && !volume.usable() {
		out.Sealed = append(out.Sealed, uuid)
	}
	if err := t.saveVolume(volume); err != nil {
		return err
	}

	return t.Save(tableOwners, uuid[:], row.ID)
}

// take makes a volume the node's. The secret that is there already, the
// operator's or another node's, goes before one that this node proposed;
// what the node said of its volume key and header fills what is not known.
func (t *txn) take(from, to kms.NodeID, uuid kms.UUID) (volumeRow, error) {
	proposed, offered, err := t.volume(to, uuid)
	if err != nil {
		return volumeRow{}, err
	}

	volume, found, err := t.volume(from, uuid)
	switch {
	case err != nil:
		return volumeRow{}, err
	case !found && offered:
		return proposed, nil
	case !found:
		return volumeRow{UUID: uuid, Node: to, Created: time.Now().UTC()}, nil
	}

	if err := t.dropVolume(to, uuid); err != nil {
		return volumeRow{}, err
	}
	if volume.MAC == nil {
		volume.MAC = proposed.MAC
	}

	if volume.Digest == nil {
		volume.Digest = proposed.Digest
	}
	return t.rename(volume, to)
}

func (row *nodeRow) shownDigest(uuid kms.UUID) *digest {
	if row.Shown == nil {
		return nil
	}
	for _, v := range row.Shown.Volumes {
		if v.UUID == uuid && v.Digest != (digest{}) {
			d := v.Digest
			return &d
		}
	}
	return nil
}
