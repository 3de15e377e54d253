package lk1

import (
	"encoding/hex"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// SetPolicy replaces the configuration file's policy: the next decision is
// made by it, unless the store has one.
func (s *Service) SetPolicy(p *policy.Policy) {
	s.book.SetFile(p)
	s.lobby.hurry(s.lobby.everybody(), lobbyShort)
}

// Rules implements terms.Rules.
func (s *Service) Rules() *policy.Policy { return s.book.Rules() }

// Follow implements terms.Rules.
func (s *Service) Follow(v ledger.View) error { return s.book.Follow(v) }

// AllReleases implements terms.Rules.
func (s *Service) AllReleases(v ledger.View) (map[string]policy.Release, error) {
	return s.view(v).releases()
}

// judge decides on a proof that holds, and records what it decided.
func (s *Service) judge(t *txn, p *proof) (*kms.Decision, error) {
	row, found, err := t.node(p.node)
	if err != nil {
		return nil, err
	}

	now := s.ledger.Wall().UTC()
	if !found {
		row = nodeRow{ID: p.node, First: now, LastFrom: p.from}
	}
	facts, err := t.facts(p, &row, now)
	if err != nil {
		return nil, err
	}
	before, verdict := row, policy.Judge(facts)
	if p.operation == kms.Recovery {
		return t.judgeRecovery(p, &row, verdict, now)
	}
	if verdict.Status == kms.OK && row.State == "" && !s.rows.fleet.Tofu(t.view.View) {
		s.log.Warn("not trusted at first sight: there are as many as may be", "node", p.node, "most", fleet.MaxTofu)
		return &kms.Decision{Status: kms.TableFull}, nil
	}
	if verdict.Status == kms.OK && row.State == "" {
		if err := s.trustFirst(t, p, &row); err != nil {
			return nil, err
		}
		if facts, err = t.facts(p, &row, now); err != nil {
			return nil, err
		}
		found, verdict = true, policy.Judge(facts)
	}

	p.rule = verdict.Reason
	d := &kms.Decision{Status: verdict.Status}
	if !found && d.Status == kms.Pending && s.presentable(p) {
		if d.Status, err = s.makeRoom(t, &row); err != nil {
			return nil, err
		}
		found = row.State == fleet.Pending
	}

	if d.Status == kms.OK {
		if err := t.give(p, &row, d, now); err != nil {
			return nil, err
		}
	}
	if !found {
		return d, nil // nothing for the log, which must not be filled from outside
	}
	s.explain(p, &row, d, now)
	if err := t.learn(p, &row, facts, d.Status, now); err != nil {
		return nil, err
	}
	if err := t.remember(p, before, row, d, verdict, now); err != nil {
		return nil, err
	}
	return t.deliver(p, &row, d)
}

// learn keeps what a question says of where the node is, and what it booted.
func (t *txn) learn(p *proof, row *nodeRow, f policy.Facts, status kms.Status, now time.Time) error {
	if err := t.noticeAsking(p, row, f, status); err != nil {
		return err
	}
	return t.track(p, row, f, status, now)
}

// give answers for the volumes of a node that passed, and counts it.
func (t *txn) give(p *proof, row *nodeRow, d *kms.Decision, now time.Time) (err error) {
	if d.Volumes, err = t.serve(p); err != nil {
		return err
	}
	row.count(p, d, now, t.s.settings(row))
	if p.operation != kms.Get || !row.takeFirst(p) {
		return nil
	}
	t.Bump()
	return t.Note(ledger.Event{Event: "first-boot", Node: row.ID.String(), From: p.from, Detail: pinned([]int{11}, row.Unmeasured)})
}

// facts are what the policy judges: the request, the node's record, the
// configuration.
func (s *Service) facts(p *proof, row *nodeRow, now time.Time) policy.Facts {
	f := row.Facts(now, s.ledger.Jump())
	f.Operation, f.PCRs, f.Clock = p.operation, p.pcrs, p.clock
	f.InBoot, f.InHour = row.InBoot, len(policy.OfHour(row.Recent, now))
	f.Quarantined, f.Heard, f.Seen, f.Pins, f.Awaits, f.Announced = row.Quarantined, row.heard(), row.Clock, row.Pins, row.Awaits, row.Announced
	rules := s.book.Rules()
	f.Settings, f.Releases, f.Programs = s.settings(row), rules.Releases, rules.Programs
	p.most = f.Settings.Volumes()
	f.Boot, f.ApprovedBoot, f.LogRefused = row.boots(p)
	switch row.State {
	case fleet.Approved:
		f.State = policy.Approved
	case fleet.Deleted:
		f.State = policy.Deleted
	case fleet.Pending:
		f.State, f.Admit = policy.Pending, s.admission(p, row)
	default:
		f.State, f.Admit = policy.Unknown, s.admission(p, row)
	}

	return f
}

// settings are those that hold for a node.
func (s *Service) settings(row *nodeRow) policy.Settings {
	return s.book.Rules().For(policy.LK1, row.Terms)
}

// heard is when the node was last heard of, or its operator of it.
func (row *nodeRow) heard() time.Time {
	last := row.First
	for _, t := range []time.Time{row.Last, row.Approved} {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// count keeps what limits and roles go by: that a secret was given out.
func (row *nodeRow) count(p *proof, d *kms.Decision, now time.Time, s policy.Settings) {
	if p.clock != row.Clock {
		row.InBoot = 0
	}
	row.Clock = p.clock
	if p.operation == kms.Put || p.operation == kms.Enroll {
		row.CountStore(now, s)
	}
	released := slices.ContainsFunc(d.Volumes, func(g kms.Granted) bool { return g.Active.Kind != 0 })
	if p.operation != kms.Get || !released {
		return
	}

	row.Booted = true
	row.InBoot++
	row.Recent = s.CountHour(row.Recent, now)
}

// remember keeps what the proof showed and what was decided, for the
// operator, and the offers of a node that waits for approval.
func (t *txn) remember(p *proof, before, row nodeRow, d *kms.Decision, verdict policy.Verdict, now time.Time) error {
	lapses := verdict.Failed(policy.RuleSilence) && row.Lapsed.IsZero()
	if lapses {
		t.Bump()
		row.Lapsed = now
		if err := t.Note(ledger.Event{Event: "lapse", Node: row.ID.String(), From: p.from, Detail: "silent since " + row.heard().Format(time.RFC3339)}); err != nil {
			return err
		}
	}

	row.Last, row.LastStatus, row.LastReason, row.LastFrom = now, d.Status.Code(), verdict.Reason, p.from
	row.Shown = show(p)
	if p.certified != nil {
		row.Certificate = p.certified
	}
	if err := t.saveNode(row); err != nil {
		return err
	}

	if row.State == fleet.Pending && d.Status == kms.Pending && len(p.offers) > 0 {
		if err := t.propose(p); err != nil {
			return err
		}
	}

	if d.Status != kms.OK && before.LastStatus == row.LastStatus && before.LastReason == row.LastReason {
		if row.State == fleet.Pending && d.Status == kms.Pending {
			return t.renewLinks(p, d, verdict.Reason)
		}
		return nil // asking again: nothing new for the log, which must not be filled from outside
	}
	if row.State != fleet.Approved {
		return t.NoteStranger(p.event(d, verdict.Reason))
	}
	return t.Note(p.event(d, verdict.Reason))
}

// show is what a proof showed.
func show(p *proof) *shown {
	seen := &shown{
		Operation: p.operation.String(), PCRs: p.pcrs, Clock: p.clock,
		Boot: (p.operation == kms.Get || p.operation == kms.Stage) && p.pcrs[latchPCR] == digest{},
	}
	for _, v := range p.volumes {
		seen.Volumes = append(seen.Volumes, shownVolume{v.UUID, v.Digest, v.SeqID})
	}
	return seen
}

// event is the audit line of a decision.
func (p *proof) event(d *kms.Decision, reason policy.Rule) ledger.Event {
	e := ledger.Event{Event: p.operation.String(), Node: p.node.String(), Status: d.Status.Code(), Reason: string(reason), From: p.from, TH2: hex.EncodeToString(p.th2[:]), Detail: d.Words}
	for _, v := range p.volumes {
		i := slices.IndexFunc(d.Volumes, func(g kms.Granted) bool { return g.UUID == v.UUID })
		if d.Status == kms.OK && i >= 0 && d.Volumes[i].Status != kms.OK {
			e.Detail += v.UUID.String() + " " + d.Volumes[i].Status.Code() + "; "
		}
		e.Volumes = append(e.Volumes, v.UUID)
	}
	return e
}
