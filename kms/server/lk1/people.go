package lk1

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// tableAgreements is what one of several people said who must agree, by node
// id ‖ verb and person.
var tableAgreements = ledger.NewTable("agreements", ledger.Sealed)

// agreementLife is how long it is waited for the next person.
const agreementLife = 24 * time.Hour

// An Agreement is what one person wants done with a node, where several must
// want the same: policy's approvals.
type Agreement struct {
	Verb string    `json:"verb"`
	What string    `json:"what"` // SHA-256 of all that the verb depends on, in hex
	Who  string    `json:"who"`  // who that is, however they came in: admin.Identity
	From string    `json:"from"` // as the audit log has it
	At   time.Time `json:"at"`
}

// A word is an agreement as it is kept.
type word struct {
	Agreement
	Token []byte      `json:"token,omitempty"` // that it was said by: when it is revoked, the word is, too
	Reach admin.Reach `json:"reach,omitempty"` // of who said it: when the machine is another's, the word counts no more
}

// tooFew undoes a change that not enough people want yet.
type tooFew struct {
	said       word // what this person said, to be kept
	have, need int
}

func (e *tooFew) Error() string {
	missing := "one more must"
	if n := e.need - e.have; n > 1 {
		missing = fmt.Sprintf("%d more must", n)
	}
	return fmt.Sprintf("%d of %d people said %s; %s say the same within %d hours", e.have, e.need, e.said.Verb, missing, int(agreementLife.Hours()))
}

// NeedsOf is Node.Needs in an answer of the administration that is a node, an
// approval with one, or a list; empty, if what was asked for is done.
func NeedsOf(answer []byte) string {
	type one struct {
		Needs string `json:"needs"`
		Node  struct {
			Needs string `json:"needs"`
		} `json:"node"`
	}
	all := make([]one, 1)
	if err := json.Unmarshal(answer, &all[0]); err != nil {
		if err := json.Unmarshal(answer, &all); err != nil {
			return "" // nothing that has it
		}
	}
	for _, n := range all {
		if needs := cmp.Or(n.Needs, n.Node.Needs); needs != "" {
			return needs
		}
	}
	return ""
}

// whatOf is the digest of what a verb does: two people agree if it is the same.
func whatOf(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // of our own types
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func agreementKey(id kms.NodeID, verb, who string) []byte {
	sum := sha256.Sum256([]byte(verb + "\x00" + who))
	return append(bytes.Clone(id[:]), sum[:16]...)
}

// agreements are what people said of a node and still counts, the first
// first.
func (v view) agreements(id kms.NodeID, now time.Time) (all []Agreement, err error) {
	words, err := v.words(id, now)
	for _, w := range words {
		all = append(all, w.Agreement)
	}
	return all, err
}

func (v view) words(id kms.NodeID, now time.Time) (all []word, err error) {
	v.Scan(tableAgreements, id[:], func(key []byte) bool {
		if !bytes.HasPrefix(key, id[:]) {
			return false
		}
		var w word
		if _, err = v.Load(tableAgreements, key, &w); err == nil && now.Sub(w.At) < agreementLife && admin.Counts(v.View, w.Token) && v.reaches(w.Reach, id) {
			all = append(all, w)
		}
		return err == nil
	})
	slices.SortFunc(all, func(a, b word) int { return a.At.Compare(b.At) })
	return all, err
}

// others are the other people who want the same, as the audit log has them.
func (v view) others(ctx context.Context, id kms.NodeID, verb, what string) (from []string, err error) {
	all, err := v.agreements(id, v.s.ledger.Wall())
	for _, a := range all {
		if a.Verb == verb && a.What == what && a.Who != admin.Identity(ctx) {
			from = append(from, a.From)
		}
	}
	return from, err
}

// together is nil if as many people as need be want this done, the one who
// asks among them; what they said is used up by it. It comes last in a
// transaction: what one person alone may not do was judged to be possible.
func (t *txn) together(ctx context.Context, row *nodeRow, need int, verb, what string) error {
	if need < 2 {
		return nil
	}
	if t.nameless {
		return fleet.Refuse("several people must approve this machine, and nobody knows who has this link: sign in")
	}
	me := Agreement{Verb: verb, What: what, Who: admin.Identity(ctx), From: ledger.Who(ctx), At: t.s.ledger.Wall().UTC()}
	all, err := t.agreements(row.ID, me.At)
	if err != nil {
		return err
	}
	same := slices.DeleteFunc(slices.Clone(all), func(a Agreement) bool { return a.Verb != verb || a.What != what || a.Who == me.Who })
	if have := len(same) + 1; have < need {
		return &tooFew{word{me, admin.Through(ctx), admin.ReachOf(ctx)}, have, need}
	}

	for _, a := range all {
		if a.Verb != verb {
			continue
		}
		if err := t.Remove(tableAgreements, agreementKey(row.ID, verb, a.Who)); err != nil {
			return err
		}
	}
	return nil
}

// keep records what one person said, and answers with the node as it is.
func (s *Service) keep(ctx context.Context, id kms.NodeID, few *tooFew) (n Node, err error) {
	err = s.update(ctx, func(t *txn) error {
		if err := t.keepWord(id, few); err != nil {
			return err
		}
		row, found, err := t.node(id)
		if err != nil {
			return err
		}
		if !found {
			row.ID = id
		}
		n = t.present(row)
		n.Needs = few.Error()
		return t.Note(few.event(id.String()))
	})
	return n, err
}

func (t *txn) keepWord(id kms.NodeID, few *tooFew) error {
	if err := t.forgetAgreements(id, false); err != nil {
		return err
	}
	return t.Save(tableAgreements, agreementKey(id, few.said.Verb, few.said.Who), few.said)
}

func (e *tooFew) event(name string) ledger.Event {
	return ledger.Event{Event: "agree", Node: name, From: e.said.From, Detail: fmt.Sprintf("%s: %d of %d people", e.said.Verb, e.have, e.need)}
}

// forgetAgreements removes those of a node that count no more, or all.
func (t *txn) forgetAgreements(id kms.NodeID, all bool) error {
	var old [][]byte
	var failed error
	now := t.s.ledger.Wall()
	t.Scan(tableAgreements, id[:], func(key []byte) bool {
		if !bytes.HasPrefix(key, id[:]) {
			return false
		}
		var a Agreement
		if _, failed = t.Load(tableAgreements, key, &a); failed == nil && (all || now.Sub(a.At) >= agreementLife) {
			old = append(old, bytes.Clone(key))
		}
		return failed == nil
	})
	for _, key := range old {
		if failed == nil {
			failed = t.Remove(tableAgreements, key)
		}
	}
	return failed
}

// stop ends what people said before, and what is left for the node: who
// stops it need not know of that.
func (t *txn) stop(ctx context.Context, id kms.NodeID) error {
	if err := t.forgetAgreements(id, true); err != nil || !t.Has(tablePushes, id[:]) {
		return err
	}
	if err := t.Unmark(tablePushes, id[:]); err != nil {
		return err
	}
	return t.Note(ledger.Event{Event: "push void", Node: id.String(), From: ledger.Who(ctx), Detail: "the machine was stopped or deleted"})
}

// decideNode is changeNode for what several people may have to want: change
// also says what exactly it does. As many must want it as before the change,
// or after it.
func (s *Service) decideNode(ctx context.Context, who, verb, detail string, change func(*txn, *nodeRow) (what string, err error)) (Node, error) {
	var id kms.NodeID
	n, err := s.changeNode(ctx, who, verb, detail, func(t *txn, row *nodeRow) error {
		id = row.ID
		before := t.people(row)
		what, err := change(t, row)
		if err != nil {
			return err
		}
		return t.together(ctx, row, max(before, t.people(row)), verb, what)
	})
	if few, ok := errors.AsType[*tooFew](err); ok {
		return s.keep(ctx, id, few)
	}
	return n, err
}

// what is all that an approval depends on, whoever asks for it.
func (a Approval) what(row *nodeRow) string {
	a.Who, a.Seen = "", row.Shown.digest()
	a.Volumes = slices.Clone(a.Volumes)
	slices.SortFunc(a.Volumes, func(x, y kms.UUID) int { return strings.Compare(x.String(), y.String()) })
	return whatOf(a)
}
