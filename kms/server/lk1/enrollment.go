package lk1

import (
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// SetEKRoots replaces the roots of enrollment cert.
func (s *Service) SetEKRoots(p *ekcert.Pool) { s.ekRoots.Store(p) }

// admission says whether a node that nobody approved may wait for it.
func (s *Service) admission(p *proof, row *nodeRow) policy.Admission {
	switch {
	case s.enroll == fleet.Cert && p.uncertain != nil:
		return policy.Admission{Status: kms.Refused, Why: p.uncertain.Error()}
	case s.enroll == fleet.Cert && row.State == "" && p.certified == nil:
		return policy.Admission{Status: kms.Pending, Why: "is asked for its EK's certificate"}
	case row.State == fleet.Pending:
		return policy.Admission{Status: kms.Pending, Why: "waits for approval: compare its words, then node approve"}
	case s.enroll == fleet.Closed:
		return policy.Admission{Status: kms.Refused, Why: "enrollment is closed: register its id with node approve"}
	case s.enroll == fleet.Tofu && s.settings(row).Unmeasured == policy.UnmeasuredRefuse && !policy.Measured(p.pcrs[11]):
		return policy.Admission{Status: kms.Pending, Why: "is not trusted at first sight: nothing measures its initrd, and unmeasured is refuse"}
	case s.enroll == fleet.Tofu:
		return policy.Admission{Why: "enrollment is tofu: trusted at first sight"}
	}
	return policy.Admission{Status: kms.Pending, Why: "would wait for approval"}
}

// presentable tells whether a stranger may have a pending row. With
// enrollment cert one that shows no certificate is told that it is pending,
// which makes it read its certificate and send it.
func (s *Service) presentable(p *proof) bool {
	if s.enroll != fleet.Cert || p.certified != nil {
		return true
	}
	s.log.Info("a stranger shows no EK certificate, which enrollment cert wants to see", "node", p.node, "words", p.node.Words(), "from", p.from)
	return false
}

// makeRoom makes a pending row for a node seen for the first time.
func (s *Service) makeRoom(t *txn, row *nodeRow) (kms.Status, error) {
	full, err := s.rows.fleet.Full(t.Txn, s.ledger.Now(), *row, func(key []byte) error { return t.forget(kms.NodeID(key)) })
	if err != nil {
		return 0, err
	}
	if full {
		return kms.TableFull, nil
	}
	row.State = fleet.Pending
	return kms.Pending, nil
}

// trustFirst approves a node at first sight, with the boot state that it
// shows and the volumes that nobody else has. What the operator put before
// any node asked stays the operator's to give.
func (s *Service) trustFirst(t *txn, p *proof, row *nodeRow) error {
	t.Bump()
	out := Approved{}
	row.Shown = show(p)
	if err := t.pin(row, Approval{Unmeasured: true}, &out); err != nil {
		return err
	}
	row.State, row.Approved = fleet.Approved, time.Now().UTC()

	for _, v := range p.volumes {
		volume, status, err := t.claim(p, v.UUID)
		if err != nil {
			return err
		}

		if status != kms.OK {
			continue
		}
		if volume.Digest == nil && v.Digest != [32]byte{} {
			d := digest(v.Digest)
			volume.Digest = &d
		}

		if err := t.saveVolume(volume); err != nil {
			return err
		}
		out.Bound = append(out.Bound, v.UUID)
	}

	return t.Note(ledger.Event{Event: "approve", Node: row.ID.String(), Volumes: out.Bound, From: p.from, Detail: "trusted at first sight; " + pinned(out.Pinned, row.Unmeasured)})
}
