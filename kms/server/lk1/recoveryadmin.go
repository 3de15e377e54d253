package lk1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// A Standing of a volume's recovery key, for people and for metrics.
const (
	RecoveryNone     = "none"     // nobody sealed one
	RecoveryUnproven = "unproven" // its machine has not booted since it was made
	RecoveryProven   = "proven"
	RecoveryUsed     = "used" // it was handed out: another is wanted
	RecoveryGone     = "gone" // its keyslot is not what was seen to open
)

// A Recovery is what the operator sees of a volume's recovery keys: never the
// sealed keys.
type Recovery struct {
	UUID     kms.UUID   `json:"uuid"`
	Node     kms.NodeID `json:"node"` // that the volume is bound to; zero: none
	Words    string     `json:"node_words,omitempty"`
	Standing string     `json:"standing"` // none, unproven, proven, used or gone
	Key      *digest    `json:"key,omitempty"`
	Made     time.Time  `json:"made,omitzero"`
	Proven   time.Time  `json:"proven,omitzero"`        // when a later boot showed its keyslot unchanged
	ProvenBy string     `json:"proven_words,omitempty"` // whose boot that was
	ProvenIn *clock     `json:"proven_clock,omitempty"` // of that boot
	Looked   time.Time  `json:"looked,omitzero"`        // when its keyslot was last seen unchanged
	Since    time.Time  `json:"gone_since,omitzero"`    // when its keyslot was first seen gone, or another
	Others   bool       `json:"other_recipients"`       // sealed to others than those of the configuration now
	Next     time.Time  `json:"next_made,omitzero"`     // of one that takes its place once it is proven
	Handed   []Handover `json:"handed,omitempty"`       // the first one first
}

// Open tells whether a person who asks today is given a key that opens the
// volume, as far as anybody knows.
func (r Recovery) Open() bool { return r.Standing == RecoveryProven }

func (v view) presentRecovery(uuid kms.UUID) (Recovery, error) {
	out := Recovery{UUID: uuid, Standing: RecoveryNone}
	owner, bound, err := v.owner(uuid)
	if err != nil {
		return out, err
	}
	if bound && owner != nobody {
		out.Node, out.Words = owner, owner.Words()
	}
	row, _, err := v.recovery(uuid)
	if err != nil || row.Current == nil {
		return out, err
	}
	c := row.Current
	out.Key, out.Made, out.Proven, out.Looked, out.Since = &c.Key, c.Made, c.Proven, c.Looked, c.Gone
	if out.Since.IsZero() {
		out.Since = c.Changed
	}
	if !c.Proven.IsZero() {
		out.ProvenBy, out.ProvenIn = c.ProvenBy.Words(), &c.ProvenIn
	}
	if row.Next != nil {
		out.Next = row.Next.Made
	}
	out.Handed = append(append(out.Handed, row.Handed...), c.Handed...)
	to := v.s.recipients.Load()
	out.Others = to != nil && c.To != digest(kms.RecipientsDigest(*to))
	switch {
	case len(c.Handed) > 0:
		out.Standing = RecoveryUsed
	case !c.there():
		out.Standing = RecoveryGone
	case c.proven():
		out.Standing = RecoveryProven
	default:
		out.Standing = RecoveryUnproven
	}
	return out, nil
}

// Recoveries lists the recovery keys of all volumes that a machine has, and of
// those that there is a key of.
func (s *Service) Recoveries() ([]Recovery, error) { return s.recoveriesFor(context.Background()) }

func (s *Service) recoveriesFor(ctx context.Context) (all []Recovery, err error) {
	err = s.see(ctx, func(v view) (failed error) {
		seen, sees := map[kms.UUID]bool{}, v.nodes()
		add := func(uuid kms.UUID) bool {
			if seen[uuid] {
				return true
			}
			seen[uuid] = true
			var one Recovery
			if one, failed = v.presentRecovery(uuid); failed != nil {
				return false
			}
			var yes bool
			if yes, failed = sees(one.Node); yes {
				all = append(all, one)
			}
			return failed == nil
		}
		v.Scan(tableVolumes, nil, func(key []byte) bool {
			if len(key) != volumeKeySize {
				return true
			}
			uuid := kms.UUID(key[32:])
			owner, bound, err := v.owner(uuid)
			if failed = err; err != nil {
				return false
			}
			return !bound || owner != kms.NodeID(key[:32]) || add(uuid)
		})
		v.Scan(tableRecovery, nil, func(key []byte) bool { return failed == nil && (len(key) != len(kms.UUID{}) || add(kms.UUID(key))) })
		return failed
	})
	return all, err
}

// RecoveryOf shows the recovery keys of one volume.
func (s *Service) RecoveryOf(ctx context.Context, uuid kms.UUID) (r Recovery, err error) {
	err = s.see(ctx, func(v view) error {
		if err := v.mine(uuid); err != nil {
			return err
		}
		if _, bound, err := v.owner(uuid); err != nil || !bound && !v.Has(tableRecovery, uuid[:]) {
			return errors.Join(err, fmt.Errorf("looking for volume %s: %w: no machine has it", uuid, ledger.ErrNotFound))
		}
		r, err = v.presentRecovery(uuid)
		return err
	})
	return r, err
}

// A Handing says which sealed key a person wants, and why.
type Handing struct {
	Reason string `json:"reason"`
	Again  bool   `json:"again"` // though it was handed out before
}

// Handed is a sealed key on its way to a person, or who else must want that.
type Handed struct {
	UUID   kms.UUID `json:"uuid"`
	Sealed []byte   `json:"sealed,omitempty"` // a file of age
	Key    *digest  `json:"key,omitempty"`
	Proven bool     `json:"proven"` // its keyslot was seen unchanged by a later boot
	Needs  string   `json:"needs,omitempty"`
}

// maxReason bounds why a key is handed out, in characters.
const maxReason = 300

func unprintable(c rune) bool { return !unicode.IsPrint(c) }

// ReleaseRecovery hands a volume's sealed recovery key out, once, to a person
// who says why. From then on it counts as used.
func (s *Service) ReleaseRecovery(ctx context.Context, uuid kms.UUID, h Handing) (out Handed, err error) {
	h.Reason = strings.TrimSpace(h.Reason)
	if n := utf8.RuneCountInString(h.Reason); n == 0 || n > maxReason || strings.ContainsFunc(h.Reason, unprintable) {
		return out, fmt.Errorf("handing out the recovery key of volume %s: %w: say why, in one line of up to %d characters", uuid, ledger.ErrRefused, maxReason)
	}
	var owner kms.NodeID
	err = s.update(ctx, func(t *txn) error {
		if err := t.mine(uuid); err != nil {
			return err
		}
		if owner, _, err = t.owner(uuid); err != nil {
			return err
		}
		out, err = t.handOut(ctx, owner, uuid, h)
		return err
	})
	few, ok := errors.AsType[*tooFew](err)
	if !ok {
		return out, err
	}
	err = s.update(ctx, func(t *txn) error {
		return t.Note(ledger.Event{Event: "recovery asked", Node: named(owner), Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx), Detail: h.Reason})
	})
	if err != nil {
		return Handed{}, err
	}
	n, err := s.keep(ctx, owner, few)
	return Handed{UUID: uuid, Needs: n.Needs}, err
}

// handOut records who is given the key and why, and gives it.
func (t *txn) handOut(ctx context.Context, owner kms.NodeID, uuid kms.UUID, h Handing) (Handed, error) {
	row, _, err := t.recovery(uuid)
	if err != nil {
		return Handed{}, err
	}
	e := row.best()
	if e == nil {
		return Handed{}, fmt.Errorf("handing out the recovery key of volume %s: %w: nobody sealed one", uuid, ledger.ErrNotFound)
	}
	if n := len(e.Handed); n > 0 && !h.Again {
		last := e.Handed[n-1]
		return Handed{}, fmt.Errorf("handing out the recovery key of volume %s: %w: %s had it at %s (%q); if you must have it, too, say so (--again)", uuid, ledger.ErrRefused, last.By(), last.At.Format(time.RFC3339), last.Reason)
	}
	const verb = "recovery release"
	what := whatOf(uuid, e.Key, len(e.Handed))
	with, err := t.others(ctx, owner, verb, what)
	if err != nil {
		return Handed{}, err
	}
	e.Handed = append(e.Handed, Handover{At: t.s.ledger.Wall().UTC(), Who: ledger.Who(ctx), With: with, Reason: h.Reason, Key: e.Key})
	e.Handed = e.Handed[max(0, len(e.Handed)-maxHandovers):]
	t.Bump()
	if err := t.saveRecovery(row); err != nil {
		return Handed{}, err
	}
	detail := "sealed key " + brief(e.Key) + ": " + h.Reason
	if h.Again {
		detail = "again, " + detail
	}
	if err := t.Note(ledger.Event{Event: "recovery release", Node: named(owner), Volumes: []kms.UUID{uuid}, From: ledger.Who(ctx), Detail: detail}); err != nil {
		return Handed{}, err
	}
	node, found, err := t.node(owner)
	if err != nil {
		return Handed{}, err
	}
	if !found {
		node = nodeRow{ID: owner, State: fleet.Deleted}
	}
	out := Handed{UUID: uuid, Sealed: e.Sealed, Key: &e.Key, Proven: e.proven()}
	return out, t.together(ctx, &node, t.s.settings(&node).People(), verb, what)
}
