package lk1

import (
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// stage keeps the next secret of a volume that the node's TPM sealed.
func (t *txn) stage(node kms.NodeID, o kms.Offer, g *kms.Granted) error {
	row, status, err := t.owned(node, o.UUID)
	if g.Status = status; err != nil || status != kms.OK {
		return err
	}

	if !row.usable() || o.Kind != row.Kind {
		g.Status = kms.NoSecret
		return nil
	}

	key := volumeKey(node, o.UUID)
	kind, old, err := t.loadSecret(key, staged)
	if err != nil {
		return err
	}
	defer old.Wipe()
	if kind != 0 {
		if !old.Equal(o.Secret) {
			g.Status = kms.Exists // an earlier one may have a keyslot by now
		}
		return nil
	}

	t.Bump()
	row.Staged, row.Due, row.Proven, row.StagedAt = true, false, false, t.Step()
	if err := t.saveSecret(key, staged, byte(o.Kind), o.Secret); err != nil {
		return err
	}

	return t.saveVolume(row)
}

// put keeps the first secret of a volume: create-only.
func (t *txn) put(p *proof, want kms.Want, o kms.Offer, g *kms.Granted) error {
	row, status, err := t.claim(p, want.UUID)
	if g.Status = status; err != nil || status != kms.OK {
		return err
	}
	return t.fill(row, want, o, g)
}

// claim finds the row of a volume that is the node's, or makes one if the
// volume is nobody's at all: no other node that waits asks for it or may have
// one of that UUID, and the node has not taken too many.
func (t *txn) claim(p *proof, uuid kms.UUID) (volumeRow, kms.Status, error) {
	node := p.node
	if t.Has(graves.Table, graves.At(uuid[:])) {
		t.s.log.Warn("a machine may not take a volume that was deleted: volume undelete gives it back, volume delete --now destroys it", "node", node, "words", node.Words(), "volume", uuid)
		return volumeRow{}, kms.NotBound, nil
	}
	row, status, err := t.owned(node, uuid)
	if err != nil || status == kms.OK {
		return row, status, err
	}
	_, bound, err := t.owner(uuid)
	if err != nil || bound && status == kms.NotBound {
		return row, kms.NotBound, err
	}
	if _, found, err := t.volume(nobody, uuid); err != nil || found {
		return row, kms.NotBound, err // the operator's: node approve --volume binds it
	}
	if uuid.Named() {
		t.s.log.Warn("a machine may not take by itself a volume whose UUID is made of a name: other machines may have one, too; node approve --volume says whose it is", "node", node, "words", node.Words(), "volume", uuid)
		return row, kms.NotBound, nil
	}
	if others := p.rivals.others(node, uuid); len(others) > 0 {
		t.s.log.Warn("a machine may not take a volume that another one waits for; node approve --volume says whose it is", "node", node, "words", node.Words(), "volume", uuid, "waits", others)
		return row, kms.NotBound, nil
	}
	if len(t.uuidsOf(node)) >= p.most {
		t.s.log.Warn("a machine may not take more volumes by itself; node approve --volume gives it one, and the setting own-volumes lets it take more", "node", node, "words", node.Words(), "volume", uuid, "most", p.most)
		return row, kms.NotBound, nil
	}
	t.Bump()
	return volumeRow{UUID: uuid, Node: node, Claimed: true, Created: time.Now().UTC()}, kms.OK, t.Save(tableOwners, uuid[:], node)
}

// fill writes an offer into a row that has no secret yet, or one that is
// sealed to the TPM of a node that the volume was moved away from. The same
// offer again is no error: its answer may have been lost.
func (t *txn) fill(row volumeRow, want kms.Want, o kms.Offer, g *kms.Granted) error {
	key := volumeKey(row.Node, row.UUID)
	if row.usable() {
		_, old, err := t.loadSecret(key, active)
		if err != nil {
			return err
		}
		defer old.Wipe()
		if row.Kind != o.Kind || !old.Equal(o.Secret) {
			g.Status = kms.Exists
			return nil
		}
		return t.describe(row, want, o.MAC, g)
	}

	if !row.describedBy(want, o.MAC) {
		g.Status = kms.Exists
		return nil
	}
	if err := t.keep(&row, o.Kind, o.Secret); err != nil {
		return err
	}
	return t.describe(row, want, o.MAC, g)
}

// keep gives a row its secret: its first one, or one in place of what
// another node's TPM had sealed, whose rotation ends with it.
func (t *txn) keep(row *volumeRow, kind kms.Kind, s secret.Bytes) error {
	t.Bump()
	key := volumeKey(row.Node, row.UUID)
	if row.SealedTo != nobody {
		if err := t.Remove(tableSecrets, secretKey(key, staged)); err != nil {
			return err
		}
		row.Staged, row.Due, row.SealedTo = false, false, nobody
	}
	row.Kind, row.Operator = kind, false
	return t.saveSecret(key, active, byte(kind), s)
}

// describedBy tells whether what a node says of the volume's header and key
// is what was recorded, as far as anything was.
func (row *volumeRow) describedBy(want kms.Want, mac []byte) bool {
	return (row.MAC == nil || len(mac) != 32 || *row.MAC == digest(mac)) &&
		(row.Digest == nil || want.Digest == [32]byte{} || *row.Digest == digest(want.Digest))
}

// enroll records what the running system knows of the volume.
func (t *txn) enroll(p *proof, want kms.Want, o kms.Offer, g *kms.Granted) error {
	row, status, err := t.claim(p, want.UUID)
	if g.Status = status; err != nil || status != kms.OK {
		return err
	}
	return t.describe(row, want, o.MAC, g)
}

// describe records header and MAC where there are none; it changes neither.
func (t *txn) describe(row volumeRow, want kms.Want, mac []byte, g *kms.Granted) error {
	if !row.describedBy(want, mac) {
		g.Status = kms.Exists
		return nil
	}

	t.Bump()
	if row.MAC == nil && len(mac) == 32 {
		d := digest(mac)
		row.MAC = &d
	}
	if row.Digest == nil && want.Digest != [32]byte{} {
		d := digest(want.Digest)
		row.Digest = &d
	}

	return t.saveVolume(row)
}

// propose keeps the offers of a node that waits for approval, beside and
// not instead of what is there under that node. Strangers do this, so it
// begins no epoch.
func (t *txn) propose(p *proof) error {
	return t.Still(func() error { return t.proposeAll(p) })
}

func (t *txn) proposeAll(p *proof) error {
	for i, want := range p.volumes {
		if t.Has(graves.Table, graves.At(want.UUID[:])) {
			continue // it may be this node's again
		}
		row, found, err := t.volume(p.node, want.UUID)
		if err != nil {
			return err
		}
		if !found {
			if len(t.uuidsOf(p.node)) >= kms.MaxVolumes {
				return nil
			}
			row = volumeRow{UUID: want.UUID, Node: p.node, Created: time.Now().UTC()}
		}

		var g kms.Granted
		if p.operation == kms.Put {
			err = t.fill(row, want, p.offers[i], &g)
		} else if p.operation == kms.Enroll {
			err = t.describe(row, want, p.offers[i].MAC, &g)
		}
		if err != nil {
			return err
		}
	}

	return nil
}
