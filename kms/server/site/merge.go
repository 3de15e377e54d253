package site

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// errAstray is a site whose log does not go on where it ended.
var errAstray = errors.New("the site's audit log is not the one that it had")

// merge takes over what the site's log has and the center's has not: each
// event once, in its order. A log that ends earlier than it did, or goes on
// from something else, is of a server that was put back or was tampered with:
// it is not followed any more.
func (c *Center) merge(ctx context.Context, s Site, said *report) (Site, error) {
	if !ed25519.Verify(s.Key[:], signed(s.Name, said.End), said.Signature) {
		return s, fmt.Errorf("%w: what it says of its end is not signed with its key", errAstray)
	}
	if len(said.Links) == 0 && said.End == s.SaidEnd {
		return s, nil
	}
	var astray error
	err := c.ledger.Update(ctx, func(t *ledger.Txn) error {
		now, found, err := load(t.View, s.Name)
		if err != nil {
			return err
		}
		if astray = nil; !found || now.Removed || now.Key == nil || *now.Key != *s.Key {
			return nil // it is said by who asks next
		}
		s = now
		var events []ledger.Event
		if events, astray = judge(&s, said); astray != nil {
			s.Refused = astray.Error()
			t.Bump()
			if err := t.Note(ledger.Event{Event: "site refused", Detail: s.Name + ": " + s.Refused}); err != nil {
				return err
			}
			return save(t, s)
		}
		for _, e := range events {
			if err := takeEvent(t, &s, e); err != nil {
				return err
			}
		}
		if err := c.count(t, &s, said); err != nil {
			return err
		}
		return save(t, s)
	})
	if err == nil && astray != nil {
		err = fmt.Errorf("%w: %w", errAstray, astray)
	}
	return s, err
}

// judge follows the log from where the center has it to where the site says
// that it ends, through where it said that before.
func judge(s *Site, said *report) (events []ledger.Event, err error) {
	if said.End.Seq < s.SaidEnd.Seq || said.End.Seq == s.SaidEnd.Seq && said.End != s.SaidEnd {
		return nil, fmt.Errorf("its log ends at event %d, and ended at %d before, or was another one: it was put back to an older state", said.End.Seq, s.SaidEnd.Seq)
	}
	at := s.Merged
	for _, l := range said.Links {
		if l.Seq <= s.Merged.Seq {
			continue // it was taken over, and the answer was lost
		}
		if at, err = at.Follow(l.Seq, l.Body); err != nil {
			return nil, err
		}
		var e ledger.Event
		if err := json.Unmarshal(l.Body, &e); err != nil || len(l.Body) > maxLink {
			return nil, fmt.Errorf("its event %d cannot be read", l.Seq)
		}
		events = append(events, e)
		for _, end := range []ledger.ChainEnd{s.SaidEnd, said.End} {
			if at.Seq == end.Seq && at != end {
				return nil, fmt.Errorf("its events up to %d are not those whose end it signed", at.Seq)
			}
		}
	}
	if at.Seq > said.End.Seq {
		return nil, fmt.Errorf("its log has an event %d, and ends at %d", at.Seq, said.End.Seq)
	}
	s.Merged, s.SaidEnd, s.Signed = at, said.End, said.Signature
	return events, nil
}

// takeEvent notes an event of the site as one of the center, under a name of
// its own: what is told of a site is what its server says.
func takeEvent(t *ledger.Txn, s *Site, e ledger.Event) error {
	if e.Event == "get" && e.Status == kms.OK.Code() {
		s.Gave, s.LastGave = s.Gave+1, e.Time
	}
	return t.Note(ledger.Event{
		Event: "site " + e.Event, Node: e.Node, Volumes: e.Volumes, Status: e.Status, Reason: e.Reason, TH2: e.TH2, From: e.From,
		Detail: fmt.Sprintf("%s, event %d at %s: %s", s.Name, e.Seq, e.Time.UTC().Format(time.RFC3339), e.Detail),
	})
}

// count has limits go by what was given at the site. Of machines that are not
// its own, any more, it has no say.
func (c *Center) count(t *ledger.Txn, s *Site, said *report) error {
	for i, tally := range said.Tallies {
		if i == maxLinks {
			break
		}
		labels, found, err := c.nodes.Labels(t.View, tally.Node)
		if err != nil {
			return err
		}
		if !found || !s.of(labels) {
			continue
		}
		if err := c.nodes.Count(t, tally); err != nil {
			return err
		}
	}
	return nil
}
