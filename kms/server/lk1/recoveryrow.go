package lk1

import (
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// tableRecovery is by UUID: the recovery keys of one volume, sealed by its
// machine for people whose identities are elsewhere. Nothing here opens them.
var tableRecovery = ledger.NewTableSince("recovery", ledger.Sealed, ledger.FormatPeople)

// recoveryRow is what there is of one volume's recovery keys.
type recoveryRow struct {
	UUID    kms.UUID   `json:"uuid"`
	Current *escrow    `json:"current,omitempty"` // the one that is given out
	Next    *escrow    `json:"next,omitempty"`    // takes its place once it is proven
	Handed  []Handover `json:"handed,omitempty"`  // of keys that were replaced, the first one first
}

// An escrow is one sealed recovery key.
type escrow struct {
	Key      digest     `json:"key"` // SHA-256 of Sealed
	Sealed   []byte     `json:"sealed"`
	To       digest     `json:"to"`       // kms.RecipientsDigest of whom it is sealed to, as its machine says
	Evidence digest     `json:"evidence"` // of its keyslot, when it was seen to open
	Node     kms.NodeID `json:"node"`     // that made it
	Boot     clock      `json:"boot"`     // in which it did
	Made     time.Time  `json:"made"`

	Proven   time.Time  `json:"proven,omitzero"`    // when a later boot showed the keyslot unchanged
	ProvenBy kms.NodeID `json:"proven_by,omitzero"` // whose boot that was
	ProvenIn clock      `json:"proven_in,omitzero"`
	Looked   time.Time  `json:"looked,omitzero"`  // when it was last seen unchanged
	Gone     time.Time  `json:"gone,omitzero"`    // since when the header has no such keyslot
	Changed  time.Time  `json:"changed,omitzero"` // since when its keyslot is another

	Handed []Handover `json:"handed,omitempty"`
}

// A Handover is a sealed key that a person was given.
type Handover struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`            // who was given it
	With   []string  `json:"with,omitempty"` // who wanted the same before, where several people must
	Reason string    `json:"reason"`
	Key    digest    `json:"key"` // SHA-256 of what was given
}

// By names everybody who wanted it, for people.
func (h Handover) By() string {
	if len(h.With) == 0 {
		return h.Who
	}
	return h.Who + ", with " + strings.Join(h.With, ", ")
}

// maxHandovers is how many of keys that were replaced are kept: the audit log
// has all.
const maxHandovers = 16

// there tells whether the keyslot is as it was when it opened, as far as its
// machine said.
func (e *escrow) there() bool { return e.Gone.IsZero() && e.Changed.IsZero() }

func (e *escrow) proven() bool { return !e.Proven.IsZero() && e.there() }

// look takes what a boot shows of the keyslot. The proof is that it is what it
// was when the key was seen to open it, in another boot: all bytes that decide
// what opens it were read from the disk again. It tells whether that is new.
func (e *escrow) look(of *hearing, seen []kms.Escrow) (proven bool) {
	found, same := false, false
	for _, s := range seen {
		if digest(s.Key) == e.Key {
			found, same = true, same || digest(s.Evidence) == e.Evidence
		}
	}
	switch {
	case !found:
		e.Gone, e.Changed = first(e.Gone, of.at), time.Time{}
	case !same:
		e.Gone, e.Changed = time.Time{}, first(e.Changed, of.at)
	default:
		e.Gone, e.Changed, e.Looked = time.Time{}, time.Time{}, of.at
		if e.Proven.IsZero() && (of.node != e.Node || of.clock.Reset != e.Boot.Reset) {
			e.Proven, e.ProvenBy, e.ProvenIn = of.at, of.node, of.clock
			return true
		}
	}
	return false
}

func first(was, now time.Time) time.Time {
	if was.IsZero() {
		return now
	}
	return was
}

// promote puts the next key in the place of the current one once it is proven.
func (row *recoveryRow) promote() bool {
	if row.Next == nil || !row.Next.proven() {
		return false
	}
	if row.Current != nil {
		row.Handed = append(row.Handed, row.Current.Handed...)
		row.Handed = row.Handed[max(0, len(row.Handed)-maxHandovers):]
	}
	row.Current, row.Next = row.Next, nil
	return true
}

// best is the key to give to a person: one that is proven, else one that is
// there.
func (row *recoveryRow) best() *escrow {
	for _, good := range []func(*escrow) bool{(*escrow).proven, (*escrow).there} {
		for _, e := range []*escrow{row.Current, row.Next} {
			if e != nil && good(e) {
				return e
			}
		}
	}
	return row.Current
}

// renew tells whether another key is wanted.
func (row *recoveryRow) renew() bool {
	c := row.Current
	return c != nil && row.Next == nil && (len(c.Handed) > 0 || !c.there())
}

func (row *recoveryRow) state(status kms.Status) kms.RecoveryState {
	s := kms.RecoveryState{UUID: row.UUID, Status: status, Renew: row.renew()}
	if row.Current != nil {
		s.Current, s.Proven = row.Current.Key, row.Current.proven()
	}
	if row.Next != nil {
		s.Next = row.Next.Key
	}
	return s
}

func (v view) recovery(uuid kms.UUID) (recoveryRow, bool, error) {
	row := recoveryRow{UUID: uuid}
	found, err := v.Load(tableRecovery, uuid[:], &row)
	return row, found, err
}

func (t *txn) saveRecovery(row recoveryRow) error {
	return t.Save(tableRecovery, row.UUID[:], row)
}
