package lk1

import (
	"fmt"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/fleet"
)

// Secrets says what becomes of what another node stored for a volume that is
// moved: its secret, its header, its volume key's MAC.
type Secrets string

const (
	// SecretsKeep hands them over: it is the same machine, whose mainboard or
	// TPM was replaced.
	SecretsKeep Secrets = "keep"
	// SecretsDrop destroys them: the new node stores its own.
	SecretsDrop Secrets = "drop"
)

// A binding is which volumes an approval binds.
type binding struct {
	Approval
	shown  bool // those that the node showed count, too
	rivals rivals
}

// named: the operator typed the volume, or looked at all that was shown.
func (b *binding) named(uuid kms.UUID) bool {
	return b.Seen != "" || slices.Contains(b.Volumes, uuid)
}

// bindAll binds the volumes that are named and, if those count, the ones that
// the node showed.
func (t *txn) bindAll(row nodeRow, b binding, out *Approved) error {
	if b.Secrets != "" && b.Secrets != SecretsKeep && b.Secrets != SecretsDrop {
		return fleet.Refuse(fmt.Sprintf("secrets %.20q: must be keep or drop", b.Secrets))
	}
	uuids := slices.Clone(b.Volumes)
	if b.shown && row.Shown != nil {
		for _, v := range row.Shown.Volumes {
			uuids = append(uuids, v.UUID)
		}
	}
	if b.shown {
		uuids = append(uuids, t.uuidsOf(row.ID)...)
	}
	slices.SortFunc(uuids, func(a, b kms.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, uuid := range slices.Compact(uuids) {
		if err := t.asksFor(row, uuid); err != nil {
			return err
		}
		if err := t.bind(row, uuid, b, out); err != nil {
			return fmt.Errorf("binding volume %s: %w", uuid, err)
		}
	}
	return nil
}

func (t *txn) bind(row nodeRow, uuid kms.UUID, b binding, out *Approved) error {
	asked, err := t.asked(row.ID, uuid, b.rivals)
	if err != nil {
		return err
	}
	from := nobody
	switch {
	case asked.foreign && b.Move && slices.Contains(b.Volumes, uuid):
		return noVolume(uuid)
	case asked.foreign:
		out.Left = append(out.Left, uuid)
		return nil
	case asked.Standing == Deleted && slices.Contains(b.Volumes, uuid):
		return t.alive(uuid)
	case asked.Standing == Deleted:
		out.Held = append(out.Held, asked)
		return nil
	case asked.Standing == Own:
		return t.confirm(row.ID, uuid, b)
	case asked.Standing == Owned && !b.Move:
		out.Left = append(out.Left, uuid)
		return nil
	case asked.Standing != Free && !b.named(uuid):
		out.Held = append(out.Held, asked)
		return nil
	case asked.Standing == Owned:
		from = asked.owner
		out.Moved = append(out.Moved, uuid)
	default:
		out.Bound = append(out.Bound, uuid)
	}

	volume, err := t.take(from, row.ID, uuid, b.Secrets)
	if err != nil {
		return err
	}
	if d := row.shownDigest(uuid); volume.Digest == nil && d != nil {
		volume.Digest = d
	}
	if volume.Kind != 0 && !volume.usable() {
		out.Sealed = append(out.Sealed, uuid)
	}
	volume.Claimed = false
	if err := t.saveVolume(volume); err != nil {
		return err
	}
	return t.Save(tableOwners, uuid[:], row.ID)
}

// confirm: what the node took itself is the operator's word from now on, if
// he named it.
func (t *txn) confirm(node kms.NodeID, uuid kms.UUID, b binding) error {
	volume, found, err := t.volume(node, uuid)
	if err != nil || !found || !volume.Claimed || !b.named(uuid) {
		return err
	}
	volume.Claimed = false
	return t.saveVolume(volume)
}

// take makes a volume the node's. A secret of the operator's goes before one
// that this node proposed. What another node stored is handed over or
// destroyed as the operator said: it may have been planted there, to be
// opened in this node's name.
func (t *txn) take(from, to kms.NodeID, uuid kms.UUID, secrets Secrets) (volumeRow, error) {
	proposed, offered, err := t.volume(to, uuid)
	if err != nil {
		return volumeRow{}, err
	}
	volume, found, err := t.volume(from, uuid)
	if err != nil {
		return volumeRow{}, err
	}

	foreign := found && from != nobody
	if foreign && volume.Kind != 0 && !volume.Operator {
		switch {
		case secrets == SecretsDrop:
			if err := t.dropVolume(from, uuid); err != nil {
				return volumeRow{}, err
			}
			found = false
		case secrets == SecretsKeep:
			foreign = false
		case volume.Kind == kms.Static: // one that a TPM sealed is of no use to another
			return volumeRow{}, fleet.Refuse(fmt.Sprintf("machine %q stored its secret: say --secrets keep if that was this machine with another mainboard or TPM, --secrets drop if not", from.Words()))
		}
	}

	switch {
	case !found && offered:
		return proposed, nil
	case !found:
		return volumeRow{UUID: uuid, Node: to, Created: time.Now().UTC()}, nil
	}

	if err := t.dropVolume(to, uuid); err != nil {
		return volumeRow{}, err
	}
	if foreign {
		volume.Digest, volume.MAC = nil, nil
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
