package lk1

import (
	"context"
	"slices"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// report takes M5: what became of the volumes of a grant.
func (s *Service) report(ctx context.Context, m5 []byte, from string) error {
	m, err := kms.ParseReport(m5)
	if err != nil {
		return err
	}

	r, err := s.cookies.openReceipt(m.Cookie)
	if err != nil {
		return err
	}
	defer r.key.Wipe()
	results, err := kms.OpenReport(m, r.key, r.th3)
	if err != nil {
		return err
	}

	if s.bound != nil {
		return nil // what opened a volume is the center's to settle: the machine reports at its next boot
	}

	changes := false
	err = s.read(func(v view) (err error) {
		changes, err = v.unsettled(r, results)
		return err
	})
	if err == nil && !changes {
		return nil // sent again, or nothing new: not worth a write
	}
	if err != nil {
		return &ledger.Unavailable{Err: err}
	}

	err = s.update(ctx, func(t *txn) error { return t.report(r, results, from) })
	if err != nil {
		return &ledger.Unavailable{Err: err}
	}

	s.log.Info("report", "node", r.node, "results", len(results), "from", from)
	return nil
}

// report settles what is to be recorded, if the node still may have it.
func (t *txn) report(r *receipt, results []kms.Result, from string) error {
	node, found, err := t.node(r.node)
	if err != nil || !found || node.State != fleet.Approved || node.Quarantined {
		return err
	}

	if err := t.cameBack(&node, results); err != nil {
		return err
	}
	e := ledger.Event{Event: "report", Node: r.node.String(), From: from}
	changed := false
	for _, result := range results {
		i := slices.IndexFunc(r.volumes, func(w kms.Want) bool { return w.UUID == result.UUID })
		if i < 0 {
			continue
		}

		did, err := t.settle(r, i, result)
		if err != nil {
			return err
		}

		if did != "" {
			changed = true
			e.Volumes = append(e.Volumes, result.UUID)
			e.Detail += did + "; "
		}
	}

	if !changed {
		return nil
	}
	return t.Note(e)
}

// unsettled tells whether a report says anything that is to be recorded.
func (v view) unsettled(r *receipt, results []kms.Result) (bool, error) {
	node, found, err := v.node(r.node)
	if err != nil || found && node.comesBack(results) {
		return err == nil, err
	}
	for _, result := range results {
		i := slices.IndexFunc(r.volumes, func(w kms.Want) bool { return w.UUID == result.UUID })
		if i < 0 || result.Outcome == kms.NotOpened {
			continue
		}
		row, status, err := v.owned(r.node, result.UUID)
		if err != nil {
			return false, err
		}
		if status == kms.OK && (v.ends(row, result, r.rotations[i]) || row.catches(r.volumes[i], result, r.rotations[i]) || row.MAC == nil && len(result.MAC) == 32 || row.Digest == nil && r.volumes[i].Digest != [32]byte{}) {
			return true, nil
		}
	}
	return false, nil
}

// settle records one result: a staged secret that was seen to open the
// volume becomes the active one, and the old one is destroyed; a MAC and a
// header that the KMS did not know yet are learnt from a volume that our
// secret opened.
func (t *txn) settle(of *receipt, i int, r kms.Result) (did string, err error) {
	want := of.volumes[i]
	row, status, err := t.owned(of.node, r.UUID)
	if err != nil || status != kms.OK || r.Outcome == kms.NotOpened {
		return "", err
	}

	switch {
	case row.catches(want, r, of.rotations[i]):
		row.caughtUp(r.SeqID)
		did = "a disk of before the last rotation has caught up"
	case row.opened(r, of.rotations[i]):
		if held, err := t.held(row); held || err != nil {
			if err != nil || row.Proven {
				return "", err
			}
			row.Proven, did = true, "staged secret seen to open; its rotation ends once a backup has it"
			break
		}
		if err := t.commit(&row, r.SeqID); err != nil {
			return "", err
		}
		did = "staged secret committed"
	}

	if row.MAC == nil && len(r.MAC) == 32 {
		d := digest(r.MAC)
		row.MAC, did = &d, did+" volume key recorded"
	}
	if row.Digest == nil && want.Digest != [32]byte{} {
		d := digest(want.Digest)
		row.Digest, did = &d, did+" header recorded"
	}

	if did == "" {
		return "", nil
	}
	t.Bump()
	return did, t.saveVolume(row)
}

// opened tells whether a result is that the staged secret opens the volume:
// the one of the rotation that was under way when its machine was answered.
// A report may be late, and another rotation have begun, whose secret has no
// keyslot yet.
func (row *volumeRow) opened(r kms.Result, rotation uint64) bool {
	return row.Staged && r.Outcome == kms.OpenedStaged && rotation == row.Rotation
}

// commit makes the staged secret the active one, and keeps the old one for a
// while. From here on an older header, which may still hold the old keyslot,
// is refused, unless the operator accepts it.
func (t *txn) commit(row *volumeRow, seqID uint64) error {
	key := volumeKey(row.Node, row.UUID)
	kind, s, err := t.loadSecret(key, staged)
	if err != nil || kind == 0 {
		return err
	}
	defer s.Wipe()
	if err := t.retain(row, max(row.MinSeq, seqID)); err != nil {
		return err
	}
	if err := t.saveSecret(key, active, kind, s); err != nil {
		return err
	}
	if err := t.Remove(tableSecrets, secretKey(key, staged)); err != nil {
		return err
	}
	row.Staged, row.Proven, row.Kind, row.MinSeq = false, false, kms.Kind(kind), max(row.MinSeq, seqID)
	return nil
}
