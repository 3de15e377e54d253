package lk1

import (
	"context"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A Volume is a volume as the operator sees it: never its secret.
type Volume struct {
	volumeRow
	Mode  string `json:"mode"`
	Bound bool   `json:"bound"`
	Words string `json:"node_words,omitempty"`
	// Deleted: nothing is given of it, and it can be had again.
	Deleted *Deletion `json:"deleted,omitempty"`
}

// Volumes lists all volumes.
func (s *Service) Volumes() ([]Volume, error) { return s.volumesFor(context.Background()) }

func (s *Service) volumesFor(ctx context.Context) (volumes []Volume, err error) {
	err = s.see(ctx, func(v view) error {
		volumes, err = v.volumesWhere(func(kms.UUID) bool { return true })
		return err
	})
	return volumes, err
}

// volumeKeySize is the size of a key of tableVolumes: node, then UUID.
const volumeKeySize = 48

// volumesWhere opens only the rows that are asked for: a key says which.
func (v view) volumesWhere(wanted func(kms.UUID) bool) (volumes []Volume, failed error) {
	sees := v.nodes()
	v.Scan(tableVolumes, nil, func(key []byte) bool {
		if len(key) != volumeKeySize || !wanted(kms.UUID(key[32:])) {
			return true
		}
		if yes, err := sees(kms.NodeID(key)); err != nil || !yes {
			failed = err
			return err == nil
		}
		var row volumeRow
		if _, failed = v.Load(tableVolumes, key, &row); failed != nil {
			return false
		}
		one, err := v.presentVolume(row)
		volumes, failed = append(volumes, one), err
		return err == nil
	})
	return volumes, failed
}

func (v view) presentVolume(row volumeRow) (Volume, error) {
	owner, bound, err := v.owner(row.UUID)
	if err != nil {
		return Volume{}, err
	}
	out := Volume{volumeRow: row, Mode: row.Kind.String(), Bound: bound && owner == row.Node}
	if row.Node != nobody {
		out.Words = row.Node.Words()
	}
	out.Deleted, _, err = v.deletion(row.UUID)
	return out, err
}

// VolumesOf finds the rows of one volume: the bound one, nobody's, and what
// pending nodes proposed.
func (s *Service) VolumesOf(uuid kms.UUID) ([]Volume, error) {
	return s.volumesOfFor(context.Background(), uuid)
}

func (s *Service) volumesOfFor(ctx context.Context, uuid kms.UUID) (volumes []Volume, err error) {
	err = s.see(ctx, func(v view) error {
		volumes, err = v.volumesOf(uuid)
		return err
	})
	return volumes, err
}

func (v view) volumesOf(uuid kms.UUID) ([]Volume, error) {
	rows, err := v.volumesWhere(func(u kms.UUID) bool { return u == uuid })
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("looking for volume %s: %w", uuid, ledger.ErrNotFound)
	}
	return rows, err
}

// PutVolume keeps a passphrase for a volume: create-only. The node may come
// later; one that owns the volume already gets it at its next boot.
func (s *Service) PutVolume(ctx context.Context, uuid kms.UUID, passphrase secret.Bytes) error {
	if passphrase.Len() == 0 || passphrase.Len() > kms.MaxSecret {
		return fmt.Errorf("putting volume %s: %w: the passphrase has %d bytes, not 1 to %d", uuid, ledger.ErrRefused, passphrase.Len(), kms.MaxSecret)
	}
	return s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		if err := t.alive(uuid); err != nil {
			return fmt.Errorf("putting a passphrase: %w", err)
		}
		node, _, err := t.owner(uuid)
		if err != nil {
			return err
		}

		row, found, err := t.volume(node, uuid)
		if err != nil {
			return err
		}

		if row.usable() {
			return fmt.Errorf("putting volume %s: %w: it has a secret; delete the volume first if that is what you mean", uuid, ledger.ErrRefused)
		}
		if row.Claimed {
			return fmt.Errorf("putting volume %s: %w: machine %q took it without your word, and would get the passphrase: if it is that machine's, say: node approve --volume %s %s; if not: volume delete --now %[1]s", uuid, ledger.ErrRefused, node.Words(), uuid, node.Words())
		}
		if !found {
			row = volumeRow{UUID: uuid, Node: node, Created: time.Now().UTC()}
		}

		if err := t.keep(&row, kms.Static, passphrase); err != nil {
			return err
		}
		row.Operator = true
		if err := t.saveVolume(row); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "volume put", Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx)})
	})
}

// AcceptHeader takes the header that the volume's node showed last for the
// enrolled one: after a header was restored from a backup. Seen, if it is not
// empty, is the Node.Seen of that node that the operator looked at.
func (s *Service) AcceptHeader(ctx context.Context, uuid kms.UUID, seen string) error {
	return s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		if err := t.alive(uuid); err != nil {
			return fmt.Errorf("accepting the header: %w", err)
		}
		id, bound, err := t.owner(uuid)
		if err != nil {
			return err
		}

		node, found, err := t.node(id)
		if err != nil {
			return err
		}

		d := node.shownDigest(uuid)
		row, _, err := t.volume(id, uuid)
		if err != nil {
			return err
		}
		if !bound || !found || d == nil {
			return fmt.Errorf("accepting the header of %s: %w: no node that owns it has shown one", uuid, ledger.ErrNotFound)
		}

		if err := node.stillShows(seen); err != nil {
			return fmt.Errorf("accepting the header of %s: %w", uuid, err)
		}
		t.Bump()
		row.Digest = d
		for _, v := range node.Shown.Volumes {
			if v.UUID == uuid {
				row.MinSeq = v.SeqID
			}
		}

		if err := t.saveVolume(row); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "volume accept-header", Node: id.String(), Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx)})
	})
}
