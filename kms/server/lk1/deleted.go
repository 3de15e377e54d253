package lk1

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A volume that was deleted keeps its rows and secrets until its grace ends,
// and loses its owner: so nothing is given of it. Its grave holds the UUID.

// graves are of volumes, by UUID. What is kept is the owner, then the nodes
// whose rows there are, 32 bytes each.
var graves = &ledger.Graveyard{Table: tableOwners, Mine: isUUID, Event: "volume destroy", Destroy: destroyVolume}

func isUUID(key []byte) bool { return len(key) == len(kms.UUID{}) }

// Graveyards are those to register.
func (r *Rows) Graveyards() []*ledger.Graveyard {
	return []*ledger.Graveyard{graves, offers, keptGraves}
}

// A Deletion is how long a deleted volume can be had again.
type Deletion struct {
	At    time.Time `json:"at"`
	By    string    `json:"by"`
	Until time.Time `json:"until"` // then it is destroyed
}

// deletion is a volume's; nil if it was not deleted.
func (v view) deletion(uuid kms.UUID) (*Deletion, []kms.NodeID, error) {
	g, found, err := v.Buried(graves, uuid[:])
	if err != nil || !found {
		return nil, nil, err
	}
	nodes, err := nodesOf(g)
	return &Deletion{g.Deleted, g.By, g.Until}, nodes, err
}

func nodesOf(g ledger.Grave) (nodes []kms.NodeID, err error) {
	if len(g.Kept) < 32 || len(g.Kept)%32 != 0 {
		return nil, fmt.Errorf("reading what was deleted: %w", ledger.ErrUnverified)
	}
	for id := range slices.Chunk(g.Kept, 32) {
		nodes = append(nodes, kms.NodeID(id))
	}
	return nodes, nil
}

// alive is an error for a volume that was deleted.
func (v view) alive(uuid kms.UUID) error {
	d, _, err := v.deletion(uuid)
	if err == nil && d != nil {
		err = fmt.Errorf("volume %s: %w: it was deleted, and is kept until %s: volume undelete %[1]s gives it back, volume delete --now %[1]s destroys it", uuid, ledger.ErrRefused, d.Until.Format(time.RFC3339))
	}
	return err
}

// DeleteVolume takes a volume from its node. It can be had again for the
// ledger's grace; now, or without a grace, all that the KMS has of it is
// destroyed. It is looked for before the transaction, which reads no other
// volume's row.
func (s *Service) DeleteVolume(ctx context.Context, uuid kms.UUID, now bool) error {
	rows, err := s.volumesOfFor(ctx, uuid)
	if err != nil {
		return err
	}
	return s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		owner, _, err := t.owner(uuid) // nobody, if there is none
		if err != nil {
			return err
		}
		buried := t.Has(graves.Table, graves.At(uuid[:]))
		t.Bump()
		if now || s.ledger.Grace() <= 0 {
			return t.destroyNow(ctx, uuid, rows)
		}
		if buried {
			return t.alive(uuid)
		}
		kept := bytes.Clone(owner[:])
		for _, row := range rows {
			kept = append(kept, row.Node[:]...)
		}
		if err := t.Bury(graves, uuid[:], kept, ledger.Who(ctx)); err != nil {
			return err
		}
		if err := t.Remove(tableOwners, uuid[:]); err != nil {
			return err
		}
		until := s.ledger.Wall().Add(s.ledger.Grace()).UTC().Format(time.RFC3339)
		return t.Note(ledger.Event{Event: "volume delete", Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx), Detail: "it is kept until " + until})
	})
}

// destroyNow destroys a volume, deleted before or not.
func (t *txn) destroyNow(ctx context.Context, uuid kms.UUID, rows []Volume) error {
	for _, row := range rows {
		if err := t.dropVolume(row.Node, uuid); err != nil {
			return err
		}
	}
	if err := t.Remove(tableOwners, uuid[:]); err != nil {
		return err
	}
	if err := t.Remove(tableRecovery, uuid[:]); err != nil {
		return err
	}
	if err := t.Unbury(graves, uuid[:]); err != nil {
		return err
	}
	return t.Note(ledger.Event{Event: "volume delete", Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx), Detail: "it is destroyed"})
}

// destroyVolume is the end of a grace.
func destroyVolume(lt *ledger.Txn, key []byte, g ledger.Grave) (ledger.Event, error) {
	uuid, t := kms.UUID(key), &txn{view: view{View: lt.View}, Txn: lt}
	nodes, err := nodesOf(g)
	if err != nil {
		return ledger.Event{}, err
	}
	for _, node := range nodes[1:] {
		if err := t.dropVolume(node, uuid); err != nil {
			return ledger.Event{}, err
		}
	}
	return ledger.Event{Volumes: []kms.UUID{uuid}}, t.Remove(tableRecovery, uuid[:])
}

// UndeleteVolume gives a deleted volume back to its node: it is as it was.
// Where several people must want what a node gets, they must want this. Needs
// says who has to, if it is not done yet.
func (s *Service) UndeleteVolume(ctx context.Context, uuid kms.UUID) (needs string, err error) {
	var owner kms.NodeID
	err = s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		d, nodes, err := t.deletion(uuid)
		if err != nil {
			return err
		}
		if d == nil {
			return fmt.Errorf("undeleting volume %s: %w: it was not deleted, or is destroyed", uuid, ledger.ErrNotFound)
		}
		owner = nodes[0]
		if other, bound, err := t.owner(uuid); err != nil || bound {
			return cmp.Or(err, fmt.Errorf("undeleting volume %s: %w: machine %q has it now", uuid, ledger.ErrRefused, other.Words()))
		}
		t.Bump()
		if err := t.Unbury(graves, uuid[:]); err != nil {
			return err
		}
		if err := t.giveBack(ctx, uuid, owner, d); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "volume undelete", Node: named(owner), Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx)})
	})
	if few, ok := errors.AsType[*tooFew](err); ok {
		n, err := s.keep(ctx, owner, few)
		return n.Needs, err
	}
	return "", err
}

// giveBack binds the volume to its owner again, if it had one.
func (t *txn) giveBack(ctx context.Context, uuid kms.UUID, owner kms.NodeID, d *Deletion) error {
	if owner == nobody {
		return nil
	}
	if err := t.Save(tableOwners, uuid[:], owner); err != nil {
		return err
	}
	row, found, err := t.node(owner)
	if err != nil || !found {
		return err
	}
	return t.together(ctx, &row, t.s.settings(&row).People(), "volume undelete", whatOf(uuid, d.At))
}

// named is a node's id for the audit log; none for nobody.
func named(id kms.NodeID) string {
	if id == nobody {
		return ""
	}
	return id.String()
}

// Undeleted is what became of an undelete.
type Undeleted struct {
	Needs string `json:"needs,omitempty"` // it is not done yet, and who must say the same
}
