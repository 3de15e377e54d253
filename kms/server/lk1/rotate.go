package lk1

import (
	"context"
	"fmt"
	"math/rand/v2"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
)

// RotateVolume stages the next passphrase of a volume. Its node gets both
// when it boots, adds a keyslot for the next one, and reports that it opens:
// then it becomes the active one, and the old one is destroyed. A secret
// that is sealed to the node's TPM only the node can make: it is told to. The
// old secret is kept for a while; forget keeps neither it nor those before.
func (s *Service) RotateVolume(ctx context.Context, uuid kms.UUID, forget bool) error {
	return s.changeVolume(ctx, "rotate", uuid, func(t *txn, row *volumeRow) error {
		switch {
		case row.Kind != kms.Static && row.Kind != kms.Bound:
			return fmt.Errorf("rotating volume %s: %w: it has no secret yet; volume put gives it one", uuid, ledger.ErrRefused)
		case !row.usable():
			return fmt.Errorf("rotating volume %s: %w: its secret is sealed to another machine's TPM; enroll it again on its machine: latchkey volume enroll", uuid, ledger.ErrRefused)
		case row.Staged || row.Due:
			return fmt.Errorf("rotating volume %s: %w: a rotation is under way, and ends when its machine boots; --abort drops it", uuid, ledger.ErrRefused)
		}
		row.Rotation = 1 + rand.Uint64N(1<<53-1) // that JSON has it exactly
		row.Forget = forget
		if row.Kind == kms.Bound {
			row.Due = true
			return nil
		}
		next := secret.Passphrase()
		defer next.Wipe()
		row.Staged, row.Proven, row.StagedAt = true, false, t.Step()
		return t.saveSecret(volumeKey(row.Node, uuid), staged, byte(kms.Static), next)
	})
}

// AbortRotation drops a staged passphrase. The active one still opens the
// volume: its keyslot goes only after the KMS has committed. A keyslot that
// the node may have added already opens for nobody.
func (s *Service) AbortRotation(ctx context.Context, uuid kms.UUID) error {
	return s.changeVolume(ctx, "rotate-abort", uuid, func(t *txn, row *volumeRow) error {
		row.Forget = false
		if row.Due {
			row.Due = false
			return nil
		}
		if !row.Staged {
			return fmt.Errorf("aborting the rotation of volume %s: %w: none is under way", uuid, ledger.ErrRefused)
		}
		if row.Kind == kms.Bound {
			return fmt.Errorf("aborting the rotation of volume %s: %w: its machine began it, and may have removed the old keyslot", uuid, ledger.ErrRefused)
		}
		row.Staged, row.Proven = false, false
		return t.Remove(tableSecrets, secretKey(volumeKey(row.Node, uuid), staged))
	})
}

// changeVolume changes the row of a volume that a node owns, and notes it.
func (s *Service) changeVolume(ctx context.Context, verb string, uuid kms.UUID, change func(*txn, *volumeRow) error) error {
	return s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		id, bound, err := t.owner(uuid)
		if err != nil {
			return err
		}

		row, found, err := t.volume(id, uuid)
		if err != nil {
			return err
		}
		if err := t.alive(uuid); err != nil {
			return err
		}
		if !bound || !found {
			return fmt.Errorf("volume %s: %w: no machine owns it", uuid, ledger.ErrNotFound)
		}

		t.Bump()
		if err := change(t, &row); err != nil {
			return err
		}

		if err := t.saveVolume(row); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: "volume " + verb, Node: id.String(), Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx)})
	})
}
