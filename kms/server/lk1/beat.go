package lk1

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/presence"
)

// judgeBeat decides whether a machine may beat from now on. It makes no row
// and no event of its own: who beats was approved before.
func (s *Service) judgeBeat(t *txn, p *proof) (*kms.Decision, error) {
	row, found, err := t.node(p.node)
	if err != nil {
		return nil, err
	}
	f, err := t.facts(p, &row, s.ledger.Wall().UTC())
	if err != nil {
		return nil, err
	}
	verdict := policy.Judge(f)
	p.rule = verdict.Reason
	d := &kms.Decision{Status: verdict.Status}
	if d.Status == kms.OK && (!found || row.State != fleet.Approved) {
		d.Status = kms.Pending
	}
	if d.Status != kms.OK {
		return d, nil
	}
	if d.Volumes, err = t.serve(p); err != nil {
		return nil, err
	}
	if row.Clock.Before(p.clock) {
		row.Clock, row.InBoot = p.clock, 0
	}
	row.settle(f)
	if err := t.notice(p.from, &row, f); err != nil {
		return nil, err
	}
	p.sight = presence.Sight{At: f.Now, From: policy.NetworkOf(f.From)}
	return d, t.saveNode(row)
}

// registered is the first ticket of a machine that may beat.
func (s *Service) registered(p *proof, keys *kms.Keys) ([]byte, error) {
	known, err := keys.BeatKey()
	if err != nil {
		return nil, err
	}
	defer known.Wipe()
	s.seen.Saw(p.node, p.sight)
	return s.seen.Seal(&presence.Ticket{At: s.ledger.Wall(), Node: p.node, Key: p.beatKey, Boot: p.clock, Known: known}), nil
}

// checkBeatKey takes the offers of an M3 for the operation beat.
func (p *proof) checkBeatKey(plain, akPublic []byte) error {
	k, err := kms.ParseBeatKey(plain)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	extra := kms.CertifyData(p.th2)
	var c attest.Clock
	if p.beatKey, c, err = attest.CheckBeatKey(k, akPublic, extra[:]); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	if (clock{Reset: c.Reset, Restart: c.Restart}) != p.clock {
		return fmt.Errorf("%w: quote and certificate are of two boots", errRefused)
	}
	return nil
}

// beat takes a beat. The machine was there when its ticket was given out, and
// for no moment longer: a beat that was recorded, or held back, proves what
// was true then. It costs no write.
func (s *Service) beat(ctx context.Context, body []byte, from string) ([]byte, error) {
	m, err := kms.ParseBeat(body)
	if err != nil {
		return nil, err
	}
	if s.bound != nil {
		return nil, attest.ErrBusy // of a site that is cut off: the center counts who is there
	}
	if err := s.seen.Key(ctx, s.ledger); err != nil {
		return nil, &ledger.Unavailable{Err: err}
	}
	var ticket *presence.Ticket
	err = s.work.Do(ctx, func() (err error) {
		if ticket, err = s.seen.Open(m.Ticket); err == nil {
			err = attest.VerifyBeat(ticket.Key, kms.BeatDigest(m.Ticket), m.Signature)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	defer ticket.Known.Wipe()

	now := s.ledger.Wall().UTC()
	b := beaten{node: ticket.Node, boot: ticket.Boot, from: from, at: ticket.At.UTC().Truncate(time.Second)}
	if b.at.After(now) { // of a server whose clock is ahead
		b.at = now
	}
	if err := s.takeBeat(ctx, b); err != nil {
		return nil, err
	}
	ticket.At = now
	next := s.seen.Seal(ticket)
	return kms.NewBeatAnswer(ticket.Known, body, next).Encode(), nil
}

// beaten is a beat that holds.
type beaten struct {
	node kms.NodeID
	boot clock
	from string
	at   time.Time
}

// takeBeat counts the machine as seen, and writes what that changes for it:
// as a rule, nothing.
func (s *Service) takeBeat(ctx context.Context, b beaten) error {
	var place netip.Prefix
	changes, refused := false, error(nil)
	look := func(v view) (row nodeRow, f policy.Facts, err error) {
		if row, _, err = v.node(b.node); err != nil {
			return row, f, err
		}
		if refused = row.mayBeat(b); refused != nil {
			return row, f, nil
		}
		if f, err = v.factsOfBeat(b, &row); err == nil {
			refused = mayBeatFrom(f)
		}
		place = policy.NetworkOf(f.From)
		changes = refused == nil && row.stirs(b, f)
		return row, f, err
	}
	err := s.read(func(v view) (err error) { _, _, err = look(v); return err })
	if err == nil && changes {
		err = s.update(ctx, func(t *txn) error {
			row, f, err := look(t.view)
			if err != nil || refused != nil || !changes {
				return err
			}
			row.settle(f)
			if err := t.notice(b.from, &row, f); err != nil {
				return err
			}
			return t.saveNode(row)
		})
	}
	if err != nil {
		return &ledger.Unavailable{Err: err}
	}
	if refused == nil {
		s.seen.Saw(b.node, presence.Sight{At: b.at, From: place})
	}
	return refused
}

// errNoBeat is a machine that may not beat, or no more.
var errNoBeat = errors.New("no beat is taken of this machine")

// mayBeat: the key of an earlier boot is of no use once a later one was seen.
func (row *nodeRow) mayBeat(b beaten) error {
	switch {
	case row.State != fleet.Approved:
		return fmt.Errorf("%w: nobody has approved it", errNoBeat)
	case row.Quarantined:
		return fmt.Errorf("%w: it is quarantined", errNoBeat)
	case b.boot.Before(row.Clock):
		return fmt.Errorf("%w: it has booted since", errNoBeat)
	}
	return nil
}

// factsOfBeat are those of the moment that a beat proves.
func (v view) factsOfBeat(b beaten, row *nodeRow) (policy.Facts, error) {
	f := v.s.facts(&proof{node: b.node, operation: kms.PresenceBeat, from: b.from, clock: b.boot}, row, b.at)
	f.From = v.placeOf(b.from, row)
	return f, v.presence(&f, row)
}

// mayBeatFrom: a machine counts as seen only where it may ask from.
func mayBeatFrom(f policy.Facts) error {
	if len(f.Settings.Networks) > 0 && policy.Judge(f).Failed(policy.RuleNetwork) {
		return fmt.Errorf("%w: %s is in no network of it", errNoBeat, f.From)
	}
	return nil
}
