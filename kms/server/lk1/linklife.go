package lk1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

func (h Holder) is(o Holder) bool {
	return h.Hook == o.Hook && h.Number == o.Number && h.Person == o.Person && slices.Equal(h.Reach, o.Reach)
}

// forgetLinks removes those that are too old, and the one that the holder of a
// new one had of this node. It counts the others, and the wrong words that were
// typed for this node and holder: where there were too many, what says so stays
// for as long as the link would have been good.
func (t *txn) forgetLinks(id kms.NodeID, h Holder) (alive, wrong int, err error) {
	var old [][]byte
	now := t.s.ledger.Now()
	t.Scan(tableLinks, nil, func(key []byte) bool {
		row, bad := t.link(key)
		over := bad != nil || now >= row.Until // one that cannot be read is of no use either
		switch {
		case bad == nil && !row.Newest.IsZero():
			over, err = t.waitsNoMore(row)
		case !over && row.Node == id && row.Holder.is(h):
			wrong, over = row.Wrong, row.Wrong < linkTries
		case !over:
			alive++
		}
		if over {
			old = append(old, bytes.Clone(key))
		}
		return err == nil
	})
	for _, key := range old {
		if err == nil {
			err = t.Unmark(tableLinks, key)
		}
	}
	return alive, wrong, err
}

// waitsNoMore: no link need follow those that a node had.
func (t *txn) waitsNoMore(own linkRow) (bool, error) {
	if age := t.s.ledger.Wall().Sub(own.Newest); age >= 0 && age < 2*linkLife {
		return false, nil // it may be looked at when it asks
	}
	row, found, err := t.node(own.Node)
	return err == nil && (!found || row.State != fleet.Pending), err
}

// renewLinks says that the links of a node that goes on asking are over, so that
// who had them is told again: once in as long as a link is good.
func (t *txn) renewLinks(p *proof, d *kms.Decision, reason policy.Rule) error {
	own, err := t.link(p.node[:])
	if errors.Is(err, ErrLink) {
		return nil // it had none
	}
	now := t.s.ledger.Wall()
	if age := now.Sub(own.Newest); err != nil || age >= 0 && age < linkLife {
		return err
	}
	if err := t.saveLink(p.node[:], linkRow{Node: p.node, Newest: now}); err != nil {
		return err
	}
	e := p.event(d, reason)
	e.Event = "link over"
	return t.NoteStranger(e)
}

// forgetAllLinks forgets those of an earlier process, whose clock they go by.
// That their nodes had links stays.
func (t *txn) forgetAllLinks() error {
	if t.view.s.ledger.Shared() {
		return nil
	}
	var stale [][]byte
	t.Scan(tableLinks, nil, func(key []byte) bool {
		if row, err := t.link(key); err != nil || row.Newest.IsZero() {
			stale = append(stale, bytes.Clone(key))
		}
		return true
	})
	for _, key := range stale {
		if err := t.Unmark(tableLinks, key); err != nil {
			return err
		}
	}
	return nil
}

// wrongWords counts a guess; after the last one the link is dead.
func (t *txn) wrongWords(ctx context.Context, link string, l linkRow) error {
	l.Wrong++
	e := ledger.Event{Event: "link refused", Node: l.Node.String(), From: ledger.Who(ctx), Detail: fmt.Sprintf("wrong words, %d of %d times", l.Wrong, linkTries)}
	if err := t.Note(e); err != nil {
		return err
	}
	return t.saveLink(linkKey(link), l)
}
