package server

import (
	"fmt"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/policy"
)

// An Enrollment says what becomes of a node that nobody approved.
type Enrollment string

const (
	// Approve makes a pending row of it, for the operator to approve.
	Approve Enrollment = "approve"
	// Closed refuses it: ids are registered beforehand.
	Closed Enrollment = "closed"
	// Tofu approves a node at first sight, as Kairos' server does: whoever
	// asks first from a LAN gets a row.
	Tofu Enrollment = "tofu"
	// Cert is Approve for nodes whose EK has a vendor's certificate, by
	// roots that the operator chose. Others do not even get a row.
	Cert Enrollment = "cert"
)

// SetEKRoots replaces the roots of enrollment cert.
func (s *Server) SetEKRoots(p *ekcert.Pool) { s.ekRoots.Store(p) }

// admission says whether a node that nobody approved may wait for it.
func (s *Server) admission(p *proof, row *nodeRow) policy.Admission {
	switch {
	case s.enroll == Cert && p.uncertain != nil:
		return policy.Admission{Status: kms.Refused, Why: p.uncertain.Error()}
	case s.enroll == Cert && row.State == "" && p.certified == nil:
		return policy.Admission{Status: kms.Pending, Why: "is asked for its EK's certificate"}
	case row.State == statePending:
		return policy.Admission{Status: kms.Pending, Why: "waits for approval: compare its words, then node approve"}
	case s.enroll == Closed:
		return policy.Admission{Status: kms.Refused, Why: "enrollment is closed: register its id with node approve"}
	case s.enroll == Tofu:
		return policy.Admission{Why: "enrollment is tofu: trusted at first sight"}
	}
	return policy.Admission{Status: kms.Pending, Why: "would wait for approval"}
}

// presentable tells whether a stranger may have a pending row. With
// enrollment cert one that shows no certificate is told that it is pending,
// which makes it read its certificate and send it.
func (s *Server) presentable(p *proof) bool {
	if s.enroll != Cert || p.certified != nil {
		return true
	}
	s.log.Info("a stranger shows no EK certificate, which enrollment cert wants to see", "node", p.node, "words", p.node.Words(), "from", p.from)
	return false
}

// makeRoom makes a pending row for a node seen for the first time.
func (s *Server) makeRoom(t *txn, row *nodeRow) (kms.Status, error) {
	full, err := s.prunePending(t)
	if err != nil {
		return 0, err
	}
	if full {
		return kms.TableFull, nil
	}
	row.State = statePending
	return kms.Pending, nil
}

// trustFirst approves a node at first sight, with the boot state that it
// shows and the volumes that nobody else has. What the operator put before
// any node asked stays the operator's to give.
func (s *Server) trustFirst(t *txn, p *proof, row *nodeRow) error {
	if t.count(tableNodes, maxTofu) >= maxTofu {
		return &unavailable{fmt.Errorf("trusting a node at first sight: there are %d already", maxTofu)}
	}
	t.bump()
	out := Approved{}
	row.Shown = show(p)
	row.pin(false, &out)
	row.State, row.Approved = stateApproved, time.Now().UTC()

	for _, v := range p.volumes {
		volume, status, err := t.claim(row.ID, v.UUID)
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

	return t.note(Event{Event: "approve", Node: row.ID.String(), Volumes: out.Bound, From: p.from, Detail: "trusted at first sight"})
}
