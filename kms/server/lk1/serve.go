package lk1

import (
	"bytes"

	"latchkey/kms"
)

// serve answers an approved node for each volume it named.
func (t *txn) serve(p *proof) ([]kms.Granted, error) {
	var out []kms.Granted
	p.rotations = make([]uint64, len(p.volumes))
	for i, want := range p.volumes {
		g := kms.Granted{UUID: want.UUID}
		var err error
		switch p.operation {
		case kms.Get:
			err = t.grant(p, i, &g)
		case kms.Stage:
			err = t.stage(p.node, p.offers[i], &g)
		case kms.Put:
			err = t.put(p, want, p.offers[i], &g)
		case kms.Announce, kms.PresenceBeat:
			g.Status = kms.OK
		case kms.Recovery:
			_, g.Status, err = t.owned(p.node, want.UUID)
		case kms.Enroll:
			err = t.enroll(p, want, p.offers[i], &g)
		}
		if err != nil {
			return nil, err
		}

		out = append(out, g)
	}
	return out, nil
}

// grant gives a volume's secrets, if the volume is the node's and its
// header is the enrolled one.
func (t *txn) grant(p *proof, i int, g *kms.Granted) error {
	want := p.volumes[i]
	row, status, err := t.owned(p.node, want.UUID)
	if g.Status = status; err != nil || status != kms.OK {
		return err
	}

	if g.Status = row.answers(want); g.Status != kms.OK {
		return nil
	}
	g.Digest, g.MAC = bytesOf(row.Digest), bytesOf(row.MAC)
	if given, err := t.grantOlder(p, i, row, g); given || err != nil {
		return err
	}
	key := volumeKey(p.node, want.UUID)
	for state, to := range map[byte]*kms.Material{active: &g.Active, staged: &g.Staged} {
		kind, s, err := t.loadSecret(key, state)
		if err != nil {
			return err
		}
		*to = kms.Material{Kind: kms.Kind(kind), Secret: s}
	}

	if row.Due && g.Staged.Kind == 0 {
		g.Staged.Kind = kms.Due
	}
	p.rotations[i] = row.Rotation
	return nil
}

// answers says what a node's own volume gets for the header that it showed.
func (row *volumeRow) answers(want kms.Want) kms.Status {
	switch {
	case row.Digest != nil && *row.Digest != digest(want.Digest):
		return kms.HeaderDiffers
	case want.SeqID < row.MinSeq:
		return kms.HeaderRollback
	case !row.usable():
		return kms.NoSecret
	}
	return kms.OK
}

func bytesOf(d *digest) []byte {
	if d == nil {
		return nil
	}
	return bytes.Clone(d[:])
}

// owned finds a volume that is bound to the node.
func (v view) owned(node kms.NodeID, uuid kms.UUID) (volumeRow, kms.Status, error) {
	owner, bound, err := v.owner(uuid)
	if err != nil {
		return volumeRow{}, kms.NotBound, err
	}
	if !bound || owner != node {
		return volumeRow{}, kms.NotBound, nil
	}
	row, found, err := v.volume(node, uuid)
	if err == nil && !found {
		return row, kms.NoSecret, nil
	}
	return row, kms.OK, err
}
