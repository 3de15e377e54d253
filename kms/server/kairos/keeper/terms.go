package keeper

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// operations are what a node asks, as the policy names it, too.
var operations = map[string]kms.Operation{"get": kms.Get, "put": kms.Put}

// facts are what the policy judges. A limit of releases counts those of each
// partition: a node asks for one after the other.
func (v view) facts(row *machine, part *partition, q terms.Question) (policy.Facts, error) {
	c := terms.Case{
		Protocol: policy.Kairos, State: row.State, Stopped: row.quarantined(), Terms: row.Terms,
		First: row.First, Last: row.Last, Operation: operations[q.Operation], From: q.From,
	}
	if part != nil {
		c.Recent = part.Recent
	}
	f := c.Facts(q.At, v.k.c.Ledger, v.k.c.Rules)
	var err error
	f.Releases, err = v.k.c.Rules.AllReleases(v.View)
	f.Programs = v.k.c.Rules.Rules().Programs
	return f, err
}

// abide judges by the rules of all protocols, and by the releases that the
// node may boot. Vouched are the PCRs that one of these answers for.
func (t *txn) abide(event string, p *kairos.Proof, row *machine, part *partition) (o outcome, vouched []int, f policy.Facts, err error) {
	from, _ := netip.ParseAddr(p.From)
	if f, err = t.facts(row, part, terms.Question{Operation: event, At: t.k.c.Ledger.Wall().UTC(), From: from}); err != nil {
		return o, nil, f, err
	}
	v := policy.JudgeShared(f)
	row.LastReason = v.Reason
	if err := terms.Lapse(t.Txn, &row.Terms, f, v, row.Name(), p.From); err != nil {
		return o, nil, f, err
	}
	switch {
	case v.Status == kms.Pending:
		return refuse(kairos.Pending, string(v.Reason)), nil, f, nil
	case v.Status != kms.OK:
		return refuse(kairos.Policy, string(v.Reason)), nil, f, nil
	}

	if p.Quote == nil {
		if len(f.Settings.Releases) > 0 && f.Settings.Releases[0] != policy.NoRelease {
			row.LastReason = policy.RuleBootState
			return refuse(kairos.Downgrade, ""), nil, f, nil
		}
		return o, nil, f, nil
	}
	f.PCRs = digests(p.Quote.PCRs)
	vouched, why := f.Vouched(kairos.PCRs)
	if why != "" {
		row.LastReason = policy.RuleBootState
		return refuse(kairos.PCRMismatch, "PCR11"), nil, f, nil
	}
	return o, vouched, f, nil
}

func digests(pcrs map[int][32]byte) map[int]policy.Digest {
	out := make(map[int]policy.Digest, len(pcrs))
	for index, value := range pcrs {
		out[index] = value
	}
	return out
}

// count counts what was given out.
func (row *machine) count(part *partition, f policy.Facts) {
	switch {
	case f.Operation == kms.Put:
		row.CountStore(f.Now, f.Settings)
	case part != nil:
		row.Booted, part.Recent = true, f.Settings.CountHour(part.Recent, f.Now)
	}
}

// Explain says what would be decided for the node of a TPMHash, and why, by
// what it showed last.
func (k *Keeper) Explain(ctx context.Context, hash string, q terms.Question) (e terms.Explanation, err error) {
	if q.Operation == "" {
		q.Operation = "get"
	}
	if operations[q.Operation] == 0 {
		return e, fmt.Errorf("operation %.20q: must be get or put", q.Operation)
	}
	id, err := parseHash(hash)
	if err != nil {
		return e, err
	}
	err = k.read(func(v view) error {
		row, found, err := k.theirs(ctx).Get(v.View, id[:])
		if err != nil {
			return err
		}
		if !found {
			return errUnknown(id)
		}
		if !q.From.IsValid() {
			q.From, _ = netip.ParseAddr(row.LastFrom)
		}
		part := row.askedLast()
		f, err := v.facts(&row, part, q)
		if err != nil {
			return err
		}
		verdict := policy.JudgeShared(f)
		row.explainBoot(f, &verdict)
		e = terms.Explain(f, verdict, row.Name(), q.Operation)
		return nil
	})
	return e, err
}

// askedLast is the partition that the node asked for last.
func (row *machine) askedLast() *partition {
	if row.Shown == nil {
		return nil
	}
	return row.match(kairos.Request{Label: row.Shown.Label, Name: row.Shown.Name, UUID: row.Shown.UUID})
}

// explainBoot adds the boot state that was shown last to a verdict.
func (row *machine) explainBoot(f policy.Facts, v *policy.Verdict) {
	c := policy.Check{Rule: policy.RuleBootState, Passes: true, Why: "showed no boot state yet"}
	switch {
	case row.Shown == nil || row.State != fleet.Approved:
	case row.Shown.Legacy && row.bound():
		c.Passes, c.Why = false, "the older exchange shows no boot state, and one is pinned"
	case row.Shown.Legacy:
		c.Why = "the older exchange shows no boot state, and none is pinned"
	default:
		f.PCRs = map[int]policy.Digest{}
		for index, value := range row.Shown.PCRs {
			n, _ := strconv.Atoi(index)
			d := f.PCRs[n]
			if _, err := hex.Decode(d[:], []byte(value)); err == nil {
				f.PCRs[n] = d
			}
		}
		vouched, why := f.Vouched(kairos.PCRs)
		if why == "" {
			why = row.differs(row.Shown.PCRs, vouched)
		}
		c.Passes, c.Why = why == "", why
		if c.Passes {
			c.Why = "it is as pinned, or as a release says"
		}
	}
	v.Checks = append(v.Checks, c)
	if !c.Passes && v.Reason == "" {
		v.Status, v.Reason = kms.PCRMismatch, policy.RuleBootState
	}
}

// differs names the first PCR that is neither as pinned nor a release's.
func (row *machine) differs(shown map[string]string, vouched []int) string {
	for _, pcr := range kairos.PCRs {
		index := fmt.Sprint(pcr)
		if want := row.PCRs[index]; want != "" && want != shown[index] && !slices.Contains(vouched, pcr) {
			return "PCR" + index
		}
	}
	return ""
}

// Set changes a node's own settings and labels.
func (k *Keeper) Set(ctx context.Context, hash string, c policy.Change) (Node, error) {
	detail, do, err := terms.Setting(k.c.Rules, policy.Kairos, c)
	if err != nil {
		return Node{}, err
	}
	return k.change(ctx, "set", hash, detail, func(row *machine) error { return do(&row.Terms) })
}

// termsRoutes explain and set.
func (k *Keeper) termsRoutes() []admin.Route {
	hash := func(r *http.Request) string { return r.URL.Query().Get("hash") }
	return []admin.Route{{
		Method: "GET", Path: "/v1/kairos/explain", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Says what would be decided for a node of Kairos, and why.",
		Query: terms.QuestionParams(hashParam), Answer: terms.Explanation{},
		Do: func(r *http.Request) (any, error) {
			q, err := terms.ReadQuestion(r)
			if err != nil {
				return nil, err
			}
			return k.Explain(r.Context(), hash(r), q)
		},
	}, {
		Method: "POST", Path: "/v1/kairos/nodes/renew", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Renews all approvals of nodes of Kairos that lapsed by silence: after a clock was wrong.", Answer: []Node{},
		Do: func(r *http.Request) (any, error) { return admin.List(k.RenewLapsed(r.Context())) },
	}, {
		Method: "POST", Path: "/v1/kairos/set", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Changes the settings and labels of a node of Kairos.",
		Query: []admin.Param{hashParam}, Body: policy.Change{}, Answer: Node{},
		Do: func(r *http.Request) (any, error) {
			var c policy.Change
			if err := strictjson.Decode(r.Body, &c); err != nil {
				return nil, err
			}
			return k.Set(r.Context(), hash(r), c)
		},
	}}
}

// renew is an operator's word that a node is as it should be.
func renew(row *machine) string {
	if row.State != fleet.Approved {
		return "it is not approved"
	}
	row.Renew(time.Now())
	return ""
}

// RenewLapsed renews all approvals that lapsed by silence: after a clock was
// wrong.
func (k *Keeper) RenewLapsed(ctx context.Context) (renewed []Node, err error) {
	var lapsed []string
	err = k.read(func(v view) error {
		return k.theirs(ctx).Known(v.View, func(row machine) error {
			if row.State == fleet.Approved && !row.Lapsed.IsZero() {
				lapsed = append(lapsed, row.Name())
			}
			return nil
		})
	})
	for _, hash := range lapsed {
		if err != nil {
			break
		}
		var n Node
		if n, err = k.Change(ctx, "renew", hash); err == nil {
			renewed = append(renewed, n)
		}
	}
	return renewed, err
}

func errUnknown(id kms.NodeID) error {
	return fmt.Errorf("looking for TPMHash %s: %w", id, ledger.ErrNotFound)
}
