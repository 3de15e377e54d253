package keeper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/talos"
	"latchkey/kms/server/terms"
)

// operations are what a machine asks, as the policy calls it.
var operations = map[string]kms.Operation{"seal": kms.Put, "unseal": kms.Get}

// byPolicy begins the reasons that are a rule's.
const byPolicy = "policy: "

// facts are what the policy judges. A limit of releases counts those of each
// blob: a machine has one for each of its disks.
func (k *Keeper) facts(row *machine, blob string, q terms.Question) policy.Facts {
	return terms.Case{
		Protocol: policy.Talos, State: row.State, Stopped: row.Stopped, Terms: row.Terms,
		First: row.First, Last: row.Last, Operation: operations[q.Operation], From: q.From, Recent: row.Blobs[blob],
	}.Facts(q.At, k.c.Ledger, k.c.Rules)
}

// abide judges by the rules of all protocols.
func (k *Keeper) abide(t *ledger.Txn, event string, a talos.Ask, blob string, row *machine) (f policy.Facts, why string, err error) {
	f = k.facts(row, blob, terms.Question{Operation: strings.TrimPrefix(event, "talos "), At: k.c.Ledger.Wall().UTC(), From: a.From})
	v := policy.JudgeShared(f)
	if err := terms.Lapse(t, &row.Terms, f, v, row.Name(), a.From.String()); err != nil {
		return f, "", err
	}
	if v.Status != kms.OK {
		return f, byPolicy + string(v.Reason), nil
	}
	return f, "", nil
}

// nameOf tells one blob from another, briefly.
func nameOf(blob []byte) string {
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:8])
}

// count counts what was given out.
func (row *machine) count(blob string, f policy.Facts) {
	if f.Operation == kms.Put {
		row.CountStore(f.Now, f.Settings)
		return
	}
	row.Booted = true
	if row.Blobs == nil {
		row.Blobs = map[string][]int64{}
	}
	row.Blobs[blob] = f.Settings.CountHour(row.Blobs[blob], f.Now)
	maps.DeleteFunc(row.Blobs, func(_ string, times []int64) bool { return len(policy.OfHour(times, f.Now)) == 0 })
}

// Explain says what would be decided for a machine, and why.
func (k *Keeper) Explain(ctx context.Context, uuid kms.UUID, q terms.Question) (e terms.Explanation, err error) {
	if q.Operation == "" {
		q.Operation = "unseal"
	}
	if operations[q.Operation] == 0 {
		return e, fmt.Errorf("operation %.20q: must be seal or unseal", q.Operation)
	}
	err = k.read(func(v ledger.View) error {
		row, found, err := k.theirs(ctx).Get(v, uuid[:])
		if err != nil {
			return err
		}
		if !found {
			return errUnknown(uuid)
		}
		if !q.From.IsValid() {
			q.From = row.From
		}
		f := k.facts(&row, row.busiest(), q)
		verdict := policy.JudgeShared(f)
		if why := row.judge(k.options(), talos.Ask{UUID: uuid, From: q.From}); why != "" && verdict.Reason == "" {
			verdict.Status, verdict.Reason = kms.Refused, policy.RuleNetwork
			verdict.Checks = append(verdict.Checks, policy.Check{Rule: policy.RuleNetwork, Why: why + ": the sources or allow of talos, or talos approve --source"})
		}
		e = terms.Explain(f, verdict, row.Name(), q.Operation)
		return nil
	})
	return e, err
}

// busiest is the blob that was given out most within the hour.
func (row *machine) busiest() (blob string) {
	for _, name := range slices.Sorted(maps.Keys(row.Blobs)) {
		if len(row.Blobs[name]) > len(row.Blobs[blob]) {
			blob = name
		}
	}
	return blob
}

// Set changes a machine's own settings and labels.
func (k *Keeper) Set(ctx context.Context, uuid kms.UUID, c policy.Change) (Node, error) {
	detail, do, err := terms.Setting(k.c.Rules, policy.Talos, c)
	if err != nil {
		return Node{}, err
	}
	return k.change(ctx, "set", uuid, detail, func(row *machine) error { return do(&row.Terms) })
}

// termsRoutes explain and set.
func (k *Keeper) termsRoutes() []admin.Route {
	uuid := func(r *http.Request) (kms.UUID, error) { return kms.ParseUUID(r.URL.Query().Get("uuid")) }
	return []admin.Route{{
		Method: "GET", Path: "/v1/talos/explain", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Says what would be decided for a machine of Talos, and why.",
		Query: terms.QuestionParams(uuidParam), Answer: terms.Explanation{},
		Do: func(r *http.Request) (any, error) {
			id, err := uuid(r)
			if err != nil {
				return nil, err
			}
			q, err := terms.ReadQuestion(r)
			if err != nil {
				return nil, err
			}
			return k.Explain(r.Context(), id, q)
		},
	}, {
		Method: "POST", Path: "/v1/talos/nodes/renew", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Renews all approvals of machines of Talos that lapsed by silence: after a clock was wrong.", Answer: []Node{},
		Do: func(r *http.Request) (any, error) { return admin.List(k.RenewLapsed(r.Context())) },
	}, {
		Method: "POST", Path: "/v1/talos/set", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Changes the settings and labels of a machine of Talos.",
		Query: []admin.Param{uuidParam}, Body: policy.Change{}, Answer: Node{},
		Do: func(r *http.Request) (any, error) {
			var c policy.Change
			if err := strictjson.Decode(r.Body, &c); err != nil {
				return nil, err
			}
			id, err := uuid(r)
			if err != nil {
				return nil, err
			}
			return k.Set(r.Context(), id, c)
		},
	}}
}

// renew is an operator's word that a machine is as it should be.
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
	var lapsed []kms.UUID
	err = k.read(func(v ledger.View) error {
		return k.theirs(ctx).Known(v, func(row machine) error {
			if row.State == fleet.Approved && !row.Lapsed.IsZero() {
				lapsed = append(lapsed, row.UUID)
			}
			return nil
		})
	})
	for _, uuid := range lapsed {
		if err != nil {
			break
		}
		var n Node
		if n, err = k.Change(ctx, "renew", uuid, nil); err == nil {
			renewed = append(renewed, n)
		}
	}
	return renewed, err
}

func errUnknown(uuid kms.UUID) error {
	return fmt.Errorf("looking for a machine of Talos with UUID %s: %w", uuid, ledger.ErrNotFound)
}
