// Package terms judges machines of Kairos and Talos by the operator's policy:
// the rules that ask nothing that only lk1 shows.
package terms

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// Rules are what machines are judged by now.
type Rules interface {
	Rules() *policy.Policy
	// Follow takes the policy that a view has, before something is judged in it.
	Follow(v ledger.View) error
	// AllReleases are those of the configuration and of the ledger.
	AllReleases(v ledger.View) (map[string]policy.Release, error)
}

// A Case is a machine that speaks another protocol than lk1, and asks.
type Case struct {
	Protocol    policy.Protocol
	State       fleet.State
	Stopped     bool
	Terms       policy.Terms
	First, Last time.Time // when it was seen
	Operation   kms.Operation
	From        netip.Addr
	Recent      []int64 // releases of what it asks for, in Unix seconds
}

// Facts are those that the rules of all protocols rest on.
func (c Case) Facts(now time.Time, l *ledger.Ledger, r Rules) policy.Facts {
	f := c.Terms.Facts(now, l.Jump())
	f.Protocol, f.Operation, f.From, f.Quarantined = c.Protocol, c.Operation, c.From, c.Stopped
	f.InHour, f.Settings = len(policy.OfHour(c.Recent, now)), r.Rules().For(c.Protocol, c.Terms)
	for _, at := range []time.Time{c.First, c.Last, c.Terms.Approved} {
		if at.After(f.Heard) {
			f.Heard = at
		}
	}
	f.Admit = policy.Admission{Status: kms.Pending, Why: "waits for approval"}
	f.State = map[fleet.State]policy.State{fleet.Pending: policy.Pending, fleet.Approved: policy.Approved, fleet.Deleted: policy.Deleted}[c.State]
	return f
}

// Lapse notes that a machine was silent for longer than it may be, once.
func Lapse(t *ledger.Txn, terms *policy.Terms, f policy.Facts, v policy.Verdict, name, from string) error {
	if !v.Failed(policy.RuleSilence) || !terms.Lapsed.IsZero() {
		return nil
	}
	t.Bump()
	terms.Lapsed = f.Now
	return t.Note(ledger.Event{Event: string(f.Protocol) + " lapse", Node: name, From: from, Detail: "silent since " + f.Heard.UTC().Format(time.RFC3339)})
}

// Setting is what the audit log says of a change that the policy allows, and
// what makes it.
func Setting(r Rules, protocol policy.Protocol, c policy.Change) (detail string, do func(*policy.Terms) error, err error) {
	if err := r.Rules().Allows(protocol, c); err != nil {
		return "", nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", nil, fmt.Errorf("setting: %w", err)
	}
	return string(text), func(t *policy.Terms) error {
		if err := t.Set(c); err != nil {
			return fleet.Refuse(err.Error())
		}
		return nil
	}, nil
}

// An Explanation says what would be decided for a machine, by the functions
// that decide, and why: every rule in one line.
type Explanation struct {
	Protocol  policy.Protocol `json:"protocol"`
	Name      string          `json:"name"` // TPMHash or UUID
	Operation string          `json:"operation"`
	At        time.Time       `json:"at"`
	From      string          `json:"from,omitempty"`
	Status    string          `json:"status"`
	Reason    policy.Rule     `json:"reason,omitempty"` // the first rule that fails
	Rules     []policy.Check  `json:"rules"`
	Settings  policy.Settings `json:"settings"`
	Unasked   []string        `json:"unasked,omitempty"` // settings that the protocol has nothing for, and why
}

// Explain puts a verdict into words; operation is what the protocol calls it.
func Explain(f policy.Facts, v policy.Verdict, name, operation string) Explanation {
	e := Explanation{
		Protocol: f.Protocol, Name: name, Operation: operation, At: f.Now, Status: v.Status.Code(), Reason: v.Reason,
		Rules: v.Checks, Settings: f.Settings, Unasked: f.Protocol.Unasked(f.Settings),
	}
	if f.From.IsValid() {
		e.From = f.From.String()
	}
	return e
}

// A Question is a request that a machine did not make.
type Question struct {
	Operation string     // empty: the one that gives a key out
	At        time.Time  // when it would ask
	From      netip.Addr // not valid: where it asked from last
}

// Question params.
var questionParams = []admin.Param{
	{Name: "operation", Doc: "what it would ask; what gives a key out if it is not said"},
	{Name: "at", Doc: "when it would ask; now if it is not said", Kind: "date-time"},
	{Name: "from", Doc: "address it would ask from; the last one if it is not said"},
}

// QuestionParams are those of a question about the machine that a parameter
// names.
func QuestionParams(machine admin.Param) []admin.Param {
	return append([]admin.Param{machine}, questionParams...)
}

// ReadQuestion reads one.
func ReadQuestion(r *http.Request) (q Question, err error) {
	query := r.URL.Query()
	q.Operation, q.At = query.Get("operation"), time.Now().UTC()
	if at := query.Get("at"); at != "" {
		if q.At, err = time.Parse(time.RFC3339, at); err != nil {
			return q, fmt.Errorf("time %.40q: want one as in 2026-11-22T22:30:00Z", at)
		}
	}
	if from := query.Get("from"); from != "" {
		if q.From, err = netip.ParseAddr(from); err != nil {
			return q, fmt.Errorf("address %.60q: not an IP address", from)
		}
	}
	return q, nil
}
