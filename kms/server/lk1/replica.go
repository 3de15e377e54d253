package lk1

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
)

// Replicas of one KMS share the keys that close cookies, so that each
// redeems what another gave out. They stand in one record, sealed with the
// data key: whoever has the store alone cannot make a cookie. It is in no
// backup.
//
// A redeem is single use whatever the clocks of the replicas say: its key
// must still be in the record in the transaction that spends it, and what was
// spent is only forgotten when its key is gone. Clocks only decide when a
// challenge is too old; they should agree within seconds.
var keyRing = []byte("ring")

// cookieKeyLen is the length of one key in the record: id, time, key.
const cookieKeyLen = 8 + 8 + 32

// refreshEvery bounds how often a cookie that nobody here can open, or a
// key that is due, makes a replica look at the store.
const refreshEvery = time.Second

// due tells that the newest key has had its time.
func (c *cookies) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shared && (len(c.ring) == 0 || c.old(c.ring[0]))
}

// old: also a key of a replica whose clock is far ahead.
func (c *cookies) old(k cookieKey) bool {
	age := c.clock.Now() - k.born
	return age >= keyLife || age <= -keyLife
}

// parseRing reads the record's keys; none is an empty ring.
func parseRing(raw []byte) (ring []cookieKey, err error) {
	if len(raw)%cookieKeyLen != 0 || len(raw) > ringSize*cookieKeyLen {
		return nil, fmt.Errorf("reading the cookie keys: %w", ledger.ErrUnverified)
	}
	for b := raw; len(b) > 0; b = b[cookieKeyLen:] {
		k := cookieKey{id: binary.BigEndian.Uint64(b), born: time.Duration(binary.BigEndian.Uint64(b[8:]))}
		ring = append(ring, newCookieKey(k, secret.Own(b[16:cookieKeyLen])))
	}
	return ring, nil
}

// readRing reads the record.
func (v view) readRing() ([]cookieKey, error) {
	raw, _, err := v.Get(tableCookies, keyRing)
	defer clear(raw)
	if err != nil {
		return nil, err
	}
	return parseRing(raw)
}

// rotate puts a new key into the record if the newest has had its time; it
// may be another replica that did. Either way the ring is what stands there.
func (s *Service) rotate(ctx context.Context) error {
	var ring []cookieKey
	err := s.ledger.Replace(ctx, tableCookies, keyRing, func(raw []byte) (next []byte, err error) {
		if ring, err = parseRing(raw); err != nil || len(ring) > 0 && !s.cookies.old(ring[0]) {
			return nil, err
		}

		now := s.ledger.Now()
		id := uint64(now)
		if len(ring) > 0 {
			id = max(id, ring[0].id+1)
		}
		fresh := secret.Random(32)
		defer fresh.Wipe()
		ring = append([]cookieKey{newCookieKey(cookieKey{id: id, born: now}, fresh)}, ring...)
		ring = ring[:min(len(ring), ringSize)]

		next = make([]byte, 0, (ringSize+1)*cookieKeyLen) // one allocation, which is wiped
		next = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(next, id), uint64(now))
		next = append(append(next, fresh.Reveal()...), raw...)
		return next[:len(ring)*cookieKeyLen], nil
	})
	if err != nil {
		return fmt.Errorf("sharing cookie keys: %w", err)
	}

	s.cookies.take(ring)
	return nil
}

func (c *cookies) take(ring []cookieKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = ring
}

// tended keeps the ring as new as a request needs it. While the store does
// not answer, the keys at hand go on closing cookies.
func (s *Service) tended(ctx context.Context) {
	if s.cookies.due() && s.refresh() {
		if err := s.rotate(ctx); err != nil {
			s.log.Warn("the newest cookie key stays in use", "err", err)
		}
	}
}

// refresh tells whether it is this request's turn to look at the store.
func (s *Service) refresh() bool {
	now, last := time.Now().UnixNano(), s.refreshed.Load()
	return now-last >= int64(refreshEvery) && s.refreshed.CompareAndSwap(last, now)
}

// ticketOf opens a cookie that this replica or another has closed: another
// may have a key that is new here.
func (s *Service) ticketOf(ctx context.Context, cookie []byte) (*ticket, error) {
	t, err := s.cookies.openTicket(cookie)
	if errors.Is(err, errCookie) && s.ledger.Shared() && s.refresh() {
		if failed := s.rotate(ctx); failed != nil {
			return nil, &ledger.Unavailable{Err: failed}
		}
		return s.cookies.openTicket(cookie)
	}
	return t, err
}

// unspent says why a challenge cannot be redeemed; if it can, where it is
// recorded as spent, and below which limit those stand whose cookies nobody
// takes anyway.
func (v view) unspent(p *proof) (key []byte, dead uint64, err error) {
	order, dead := uint64(p.expiry), uint64(v.s.ledger.Now())
	if v.s.ledger.Shared() {
		ring, err := v.readRing()
		if err != nil {
			return nil, 0, err
		}
		if order, dead = p.key, 0; len(ring) > 0 {
			dead = ring[len(ring)-1].id
		}
		if dead == 0 || order < dead {
			return nil, 0, fmt.Errorf("%w: the key of this challenge has had its time", errRefused)
		}
	}

	key = append(binary.BigEndian.AppendUint64(nil, order), p.th2[:]...)
	if v.Has(tableSpent, key) {
		return nil, 0, fmt.Errorf("%w: this challenge was redeemed before", errRefused)
	}
	return key, dead, nil
}

// spend records a challenge as redeemed, once; and forgets those whose
// cookies nobody takes anyway.
func (t *txn) spend(p *proof) error {
	key, dead, err := t.unspent(p)
	if err != nil {
		return err
	}
	if err := t.forgetSpent(dead); err != nil {
		return err
	}
	return t.Mark(tableSpent, key)
}

// forgetRows is how many spent challenges one more makes room for. Servers
// that share the store come to the same ones: that costs no more.
const forgetRows = 4

// forgetSpent removes a few of those that stand below a limit.
func (t *txn) forgetSpent(limit uint64) error {
	var dead [][]byte
	t.Glance().Scan(tableSpent, nil, func(old []byte) bool {
		if len(old) >= 8 && binary.BigEndian.Uint64(old) >= limit || len(dead) == forgetRows {
			return false
		}
		dead = append(dead, append([]byte(nil), old...))
		return true
	})
	for _, old := range dead {
		if err := t.Unmark(tableSpent, old); err != nil {
			return err
		}
	}
	return nil
}
