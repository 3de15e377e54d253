package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/store"
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

// share makes the cookies those of all replicas.
func (c *cookies) share() {
	c.shared, c.base = true, time.Duration(c.start.UnixNano())
}

// due tells that the newest key has had its time.
func (c *cookies) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shared && (len(c.ring) == 0 || c.old(c.ring[0]))
}

// old: also a key of a replica whose clock is far ahead.
func (c *cookies) old(k cookieKey) bool {
	age := c.now() - k.born
	return age >= keyLife || age <= -keyLife
}

// readRing reads the record; none is an empty ring. The raw keys are to be
// wiped.
func (v *vault) readRing(r store.Reader) (ring []cookieKey, raw []byte, err error) {
	sealed := r.Get(tableCookies, keyRing)
	if sealed == nil {
		return nil, nil, nil
	}

	raw, _, err = v.open(place{tableCookies, keyRing, stateRow}, sealed)
	if err != nil {
		return nil, nil, err
	}

	if len(raw) == 0 || len(raw)%cookieKeyLen != 0 || len(raw) > ringSize*cookieKeyLen {
		return nil, raw, fmt.Errorf("reading the cookie keys: %w", ErrUnverified)
	}
	for b := raw; len(b) > 0; b = b[cookieKeyLen:] {
		ring = append(ring, cookieKey{
			id: binary.BigEndian.Uint64(b), born: time.Duration(binary.BigEndian.Uint64(b[8:])), aead: newAEAD(b[16:cookieKeyLen]),
		})
	}

	return ring, raw, nil
}

// rotate puts a new key into the record if the newest has had its time; it
// may be another replica that did. Either way the ring is what stands there.
func (s *Server) rotate(ctx context.Context) error {
	var ring []cookieKey
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		var raw []byte
		ring, raw, err = s.vault.readRing(tx)
		defer clear(raw)
		if err != nil || len(ring) > 0 && !s.cookies.old(ring[0]) {
			return err
		}

		now := s.cookies.now()
		id := uint64(now)
		if len(ring) > 0 {
			id = max(id, ring[0].id+1)
		}
		fresh := secret.Random(32)
		defer fresh.Wipe()
		entry := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id), uint64(now))
		plain := append(append(entry, fresh.Reveal()...), raw...)
		defer clear(plain)
		ring = append([]cookieKey{{id, now, newAEAD(fresh.Reveal())}}, ring...)
		ring = ring[:min(len(ring), ringSize)]
		return tx.Put(tableCookies, keyRing, s.vault.seal(place{tableCookies, keyRing, stateRow}, 0, plain[:len(ring)*cookieKeyLen]))
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
func (s *Server) tended(ctx context.Context) {
	if s.cookies.due() && s.refresh() {
		if err := s.rotate(ctx); err != nil {
			s.log.Warn("the newest cookie key stays in use", "err", err)
		}
	}
}

// refresh tells whether it is this request's turn to look at the store.
func (s *Server) refresh() bool {
	now, last := time.Now().UnixNano(), s.refreshed.Load()
	return now-last >= int64(refreshEvery) && s.refreshed.CompareAndSwap(last, now)
}

// ticketOf opens a cookie that this replica or another has closed: another
// may have a key that is new here.
func (s *Server) ticketOf(ctx context.Context, cookie []byte) (*ticket, error) {
	t, err := s.cookies.openTicket(cookie)
	if errors.Is(err, errCookie) && s.cookies.shared && s.refresh() {
		if failed := s.rotate(ctx); failed != nil {
			return nil, &unavailable{failed}
		}
		return s.cookies.openTicket(cookie)
	}
	return t, err
}

// spend records a challenge as redeemed, once; and forgets those whose
// cookies nobody takes anyway.
func (s *Server) spend(t *txn, p *proof) error {
	order, dead := uint64(p.expiry), uint64(s.cookies.now())
	if s.cookies.shared {
		ring, raw, err := s.vault.readRing(t)
		clear(raw)
		if err != nil {
			return err
		}
		if order, dead = p.key, 0; len(ring) > 0 {
			dead = ring[len(ring)-1].id
		}
		if dead == 0 || order < dead {
			return fmt.Errorf("%w: the key of this challenge has had its time", errRefused)
		}
	}

	key := append(binary.BigEndian.AppendUint64(nil, order), p.th2[:]...)
	if t.Get(tableSpent, key) != nil {
		return fmt.Errorf("%w: this challenge was redeemed before", errRefused)
	}

	if err := t.forgetSpent(dead); err != nil {
		return err
	}
	return t.tx.Put(tableSpent, key, []byte{1})
}

// forgetSpent removes a few of those that stand below a limit.
func (t *txn) forgetSpent(limit uint64) error {
	var dead [][]byte
	t.Scan(tableSpent, nil, func(old, _ []byte) bool {
		if len(old) >= 8 && binary.BigEndian.Uint64(old) >= limit || len(dead) == 16 {
			return false
		}
		dead = append(dead, append([]byte(nil), old...))
		return true
	})
	for _, old := range dead {
		if err := t.tx.Delete(tableSpent, old); err != nil {
			return err
		}
	}
	return nil
}
