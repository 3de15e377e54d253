package lk1

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// forRecovery is the cookie of an M4 that M7 goes on from.
const forRecovery = "lk1/recovery-cookie"

// recoveryLife is how long a node may take from M4 to M7.
const recoveryLife = time.Minute

// sealedKeyStart is how a file of age begins.
const sealedKeyStart = "age-encryption.org/v1\n"

// A hearing is what the KMS must remember between M4 and M7: who asks, from
// which boot.
type hearing struct {
	key     secret.Bytes // k_m5
	th3     [32]byte
	node    kms.NodeID
	clock   clock
	volumes []kms.Want
	expiry  time.Duration // on the ledger's clock

	ring uint64    // id of the key that closed the cookie
	at   time.Time // by the wall clock
	from string
}

func (c *cookies) sealHearing(h *hearing) []byte {
	w := kms.NewWriter(kms.MaxReportCookie)
	w.Field(h.key.Reveal())
	w.Field(h.th3[:])
	w.Field(h.node[:])
	w.Uint64(uint64(h.clock.Reset)<<32 | uint64(h.clock.Restart))
	kms.WriteWants(w, h.volumes)
	w.Uint64(uint64(h.expiry))
	defer clear(w.Bytes())
	return c.newest().seal(forRecovery, w.Bytes())
}

func (c *cookies) openHearing(cookie []byte) (*hearing, error) {
	plain, key, err := c.open(forRecovery, cookie)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	r, h := kms.NewReader(plain), &hearing{ring: key.id}
	h.key = secret.Own(bytes.Clone(r.Exact("key", 32)))
	h.th3 = [32]byte(r.Exact("th3", 32))
	h.node = kms.NodeID(r.Exact("node", 32))
	counts := r.Uint64("counters")
	h.clock = clock{Reset: uint32(counts >> 32), Restart: uint32(counts)}
	h.volumes = kms.ReadWants(r)
	h.expiry = time.Duration(r.Uint64("expiry"))
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("opening a cookie: %w", err)
	}
	if c.clock.Now() >= h.expiry {
		return nil, errCookie
	}
	return h, nil
}

// judgeRecovery answers an approved machine's question for an exchange about
// recovery keys. It is no boot: what the machine showed in its boot stays what
// the operator looks at, and who is not approved is neither kept nor trusted.
func (t *txn) judgeRecovery(p *proof, row *nodeRow, verdict policy.Verdict, now time.Time) (*kms.Decision, error) {
	p.rule = verdict.Reason
	d := &kms.Decision{Status: verdict.Status}
	switch {
	case d.Status == kms.OK && row.State != fleet.Approved:
		d.Status = kms.Refused
		return d, nil
	case d.Status != kms.OK:
		return d, nil
	}
	var err error
	if d.Volumes, err = t.serve(p); err != nil {
		return nil, err
	}
	row.CountStore(now, t.s.settings(row))
	return d, t.saveNode(*row)
}

// recovery answers M7 with M8. The message is good for one time: a copy of it
// would say of today what was seen yesterday.
func (s *Service) recovery(ctx context.Context, m7 []byte, from string) ([]byte, error) {
	m, err := kms.ParseRecovery(m7)
	if err != nil {
		return nil, err
	}
	h, err := s.cookies.openHearing(m.Cookie)
	if err != nil {
		return nil, err
	}
	defer h.key.Wipe()
	words, err := kms.OpenRecovery(m, h.key, h.th3)
	if err != nil {
		return nil, err
	}

	h.at, h.from = s.ledger.Wall().UTC(), from
	reply := &kms.RecoveryReply{}
	if to := s.recipients.Load(); to != nil {
		reply.Recipients = *to
	}
	var refused error
	err = s.update(ctx, func(t *txn) error {
		reply.Volumes, refused = nil, nil
		err := t.hear(h, words, reply)
		if errors.Is(err, errRefused) {
			refused = err
			return nil
		}
		return err
	})
	if err == nil && refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, &ledger.Unavailable{Err: err}
	}
	m8, err := kms.SealRecoveryReply(h.key, h.th3, reply)
	if err != nil {
		return nil, &ledger.Unavailable{Err: err}
	}
	return m8.Encode(), nil
}

// hear takes what a machine says of the volumes that are its own, if it may
// still speak.
func (t *txn) hear(h *hearing, words []kms.RecoveryWord, reply *kms.RecoveryReply) error {
	node, found, err := t.node(h.node)
	if err != nil {
		return err
	}
	if !found || node.State != fleet.Approved || node.Quarantined {
		return fmt.Errorf("%w: the machine was stopped", errRefused)
	}
	if !slices.EqualFunc(words, h.volumes, func(w kms.RecoveryWord, v kms.Want) bool { return w.UUID == v.UUID }) {
		return fmt.Errorf("%w: words of other volumes", errRefused)
	}
	if err := t.spend(&proof{expiry: h.expiry, key: h.ring, th2: h.th3}); err != nil {
		return err
	}
	for _, w := range words {
		state, err := t.hearOf(h, w)
		if err != nil {
			return err
		}
		reply.Volumes = append(reply.Volumes, state)
	}
	return nil
}

// hearOf takes what its machine says of one volume.
func (t *txn) hearOf(h *hearing, w kms.RecoveryWord) (kms.RecoveryState, error) {
	_, status, err := t.owned(h.node, w.UUID)
	if err != nil || status == kms.NotBound {
		return kms.RecoveryState{UUID: w.UUID, Status: kms.NotBound}, err
	}
	row, found, err := t.recovery(w.UUID)
	if err != nil {
		return kms.RecoveryState{}, err
	}
	status = kms.OK
	if len(w.Sealed) > 0 {
		if status, err = t.deposit(h, &row, w); err != nil {
			return kms.RecoveryState{}, err
		}
	}
	if row.Current == nil {
		return row.state(status), nil
	}
	for _, e := range []*escrow{row.Current, row.Next} {
		if e == nil || !e.look(h, w.Escrows) {
			continue
		}
		if err := t.noteRecovery(h, "recovery proven", w.UUID, e, ""); err != nil {
			return kms.RecoveryState{}, err
		}
	}
	if row.promote() {
		if err := t.noteRecovery(h, "recovery replaced", w.UUID, row.Current, "it takes the place of the one before"); err != nil {
			return kms.RecoveryState{}, err
		}
	}
	if found || status == kms.OK {
		err = t.saveRecovery(row)
	}
	return row.state(status), err
}

// deposit keeps a sealed key beside the one that there is. The same one again
// is no error: its answer may have been lost.
func (t *txn) deposit(h *hearing, row *recoveryRow, w kms.RecoveryWord) (kms.Status, error) {
	key := digest(sha256.Sum256(w.Sealed))
	i := slices.IndexFunc(w.Escrows, func(e kms.Escrow) bool { return digest(e.Key) == key })
	if i < 0 || !bytes.HasPrefix(w.Sealed, []byte(sealedKeyStart)) {
		return kms.Exists, nil
	}
	for _, e := range []*escrow{row.Current, row.Next} {
		if e != nil && e.Key == key {
			return kms.OK, nil
		}
	}
	made := &escrow{
		Key: key, Sealed: w.Sealed, To: w.To, Evidence: w.Escrows[i].Evidence,
		Node: h.node, Boot: h.clock, Made: h.at, Looked: h.at,
	}
	if row.Current == nil {
		row.Current = made
	} else {
		row.Next = made
	}
	t.Bump()
	return kms.OK, t.noteRecovery(h, "recovery put", w.UUID, made, "")
}

func (t *txn) noteRecovery(h *hearing, event string, uuid kms.UUID, e *escrow, detail string) error {
	text := "sealed key " + brief(e.Key)
	if detail != "" {
		text += ": " + detail
	}
	return t.Note(ledger.Event{Event: event, Node: h.node.String(), Volumes: []kms.UUID{uuid}, From: h.from, Detail: text})
}

// brief tells one sealed key from another, for people.
func brief(d digest) string { return hex.EncodeToString(d[:8]) }

// SetRecipients says whom machines seal recovery keys to: texts of recipients
// of age, as backup.ParseRecipient takes them.
func (s *Service) SetRecipients(to []string) { s.recipients.Store(&to) }
