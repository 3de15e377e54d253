package server

import (
	"context"
	"fmt"

	"latchkey/kms"
)

// RotateVolume stages the next passphrase of a volume. Its node gets both
// when it boots, adds a keyslot for the next one, and reports that it opens:
// then it becomes the active one, and the old one is destroyed. A secret
// that is sealed to the node's TPM only the node can make: it is told to.
func (s *Server) RotateVolume(ctx context.Context, uuid kms.UUID) error {
	return s.changeVolume(ctx, "rotate", uuid, func(t *txn, row *volumeRow) error {
		switch {
		case row.Kind != kms.Static && row.Kind != kms.Bound:
			return fmt.Errorf("rotating volume %s: %w: it has no secret yet; volume put gives it one", uuid, ErrRefused)
		case row.Staged || row.Due:
			return fmt.Errorf("rotating volume %s: %w: a rotation is under way, and ends when its machine boots; --abort drops it", uuid, ErrRefused)
		}
		if row.Kind == kms.Bound {
			row.Due = true
			return nil
		}
		next := GeneratePassphrase()
		defer next.Wipe()
		row.Staged = true
		return t.saveSecret(volumeKey(row.Node, uuid), stateStaged, byte(kms.Static), next)
	})
}

// AbortRotation drops a staged passphrase. The active one still opens the
// volume: its keyslot goes only after the KMS has committed. A keyslot that
// the node may have added already opens for nobody.
func (s *Server) AbortRotation(ctx context.Context, uuid kms.UUID) error {
	return s.changeVolume(ctx, "rotate-abort", uuid, func(t *txn, row *volumeRow) error {
		if row.Due {
			row.Due = false
			return nil
		}
		if !row.Staged {
			return fmt.Errorf("aborting the rotation of volume %s: %w: none is under way", uuid, ErrRefused)
		}
		if row.Kind == kms.Bound {
			return fmt.Errorf("aborting the rotation of volume %s: %w: its machine began it, and may have removed the old keyslot", uuid, ErrRefused)
		}
		row.Staged = false
		return t.remove(tableSecrets, secretKey(volumeKey(row.Node, uuid), stateStaged))
	})
}

// changeVolume changes the row of a volume that a node owns, and notes it.
func (s *Server) changeVolume(ctx context.Context, verb string, uuid kms.UUID, change func(*txn, *volumeRow) error) error {
	return s.update(ctx, func(t *txn) error {
		id, bound, err := t.owner(uuid)
		if err != nil {
			return err
		}

		row, found, err := t.volume(id, uuid)
		if err != nil {
			return err
		}
		if !bound || !found {
			return fmt.Errorf("volume %s: %w: no machine owns it", uuid, ErrNotFound)
		}

		t.bump()
		if err := change(t, &row); err != nil {
			return err
		}

		if err := t.saveVolume(row); err != nil {
			return err
		}
		return t.note(Event{Event: "volume " + verb, Node: id.String(), Volumes: []kms.UUID{uuid}, From: operator(ctx)})
	})
}
