package terms

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// Several asks whether as many people want something as must.
type Several interface {
	// Together is an error in a transaction, as long as there are fewer.
	Together(ctx context.Context, t *ledger.Txn, subject kms.NodeID, need int, verb, what string) error
	// Reaches are the machines that they administer who said it before, the first
	// first.
	Reaches(v ledger.View, subject kms.NodeID, verb, what string) ([]admin.Reach, error)
	// Keep records what one of them said, if err is Together's, and says how
	// many more must; name is what the audit log calls the subject.
	Keep(ctx context.Context, subject kms.NodeID, name string, err error) (needs string, _ error)
	// Forget ends what was said of a subject.
	Forget(t *ledger.Txn, subject kms.NodeID) error
}

// Subject is what people agree about: a machine of a protocol.
func Subject(protocol policy.Protocol, key []byte) kms.NodeID {
	return sha256.Sum256(append([]byte("latchkey "+string(protocol)+" "), key...))
}

// A Decision is an operator's command to a machine of another protocol.
type Decision struct {
	Protocol policy.Protocol
	Key      []byte // of the machine
	Verb     string
	What     any          // what it depends on beside the machine: two people agree if that is the same
	Machine  Machine      // before it
	Before   policy.Terms // of the machine, and after it:
	After    policy.Terms
	Several  Several
	Rules    Rules
}

// alone are the commands that one person does, and that end what was said
// before.
var alone = map[string]bool{"quarantine": true, "delete": true, "undelete": true}

// TakeIn gives a machine that is approved the label by which one of those who
// approve it sees it.
func (d Decision) TakeIn(ctx context.Context, v ledger.View, t *policy.Terms) error {
	if d.Verb != "approve" {
		return nil
	}
	what, err := json.Marshal(d.What)
	if err != nil {
		return fleet.Refuse(err.Error())
	}
	all, err := d.Several.Reaches(v, Subject(d.Protocol, d.Key), d.Verb, string(what))
	TakeIn(ctx, d.Rules, d.Machine, t, all)
	return err
}

// TakeIn gives a machine the labels by which those see it who have said before
// that it be approved, and who says it now: who said it first goes first.
func TakeIn(ctx context.Context, r Rules, m Machine, t *policy.Terms, before []admin.Reach) {
	for _, reach := range append(before, admin.ReachOf(ctx)) {
		m.Labels = t.Labels
		SightOf(admin.Reaches(ctx, reach), r).Approve(m, t)
	}
}

// Agreed is nil if as many people want it as before the command, or after it.
// It comes last in a transaction.
func (d Decision) Agreed(ctx context.Context, t *ledger.Txn) error {
	subject := Subject(d.Protocol, d.Key)
	if alone[d.Verb] {
		return d.Several.Forget(t, subject)
	}
	what, err := json.Marshal(d.What)
	if err != nil {
		return fleet.Refuse(err.Error())
	}
	p := d.Rules.Rules()
	need := max(p.PeopleAt(d.Protocol, d.Before, d.Machine.Waits()), p.For(d.Protocol, d.After).People())
	if err := d.Several.Together(ctx, t, subject, need, d.Verb, string(what)); err != nil || d.Verb != "set" || maps.Equal(d.Before.Labels, d.After.Labels) {
		return err
	}
	return d.Several.Forget(t, subject) // who said something may be one whose machine it is no more
}
