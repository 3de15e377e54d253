package lk1

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/strictjson"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// A Question is a request that a node did not make.
type Question struct {
	Who       string
	Operation kms.Operation // zero: get
	At        time.Time     // zero: now
	From      netip.Addr    // not valid: where the node asked from last
}

// An Explanation says what would be decided, by the function that decides,
// and why: every rule in one line. It rests on what the node showed last.
type Explanation struct {
	Node      kms.NodeID      `json:"node"`
	Words     string          `json:"words"`
	Operation string          `json:"operation"`
	At        time.Time       `json:"at"`
	From      string          `json:"from,omitempty"`
	Status    string          `json:"status"` // what the node would be told
	Reason    policy.Rule     `json:"reason,omitempty"`
	Rules     []policy.Check  `json:"rules"`
	Settings  policy.Settings `json:"settings"` // those that hold: the configuration's and the node's own
	Volumes   []Expected      `json:"volumes,omitempty"`
}

// Expected is what would be answered for one volume.
type Expected struct {
	UUID   kms.UUID `json:"uuid"`
	Status string   `json:"status"`
}

// Explain answers a question. It changes nothing.
func (s *Service) Explain(ctx context.Context, q Question) (e Explanation, err error) {
	err = s.see(ctx, func(v view) error {
		row, err := v.find(q.Who)
		if err != nil {
			return err
		}

		if row.Shown == nil && row.State != fleet.Deleted {
			return fmt.Errorf("explaining node %s: %w: it has shown nothing yet", row.ID.Words(), ledger.ErrRefused)
		}
		p := q.proof(row)
		now := q.At
		if now.IsZero() {
			now = time.Now()
		}

		f, err := v.facts(p, &row, now.UTC())
		if err != nil {
			return err
		}
		verdict := policy.Judge(f)
		e = Explanation{
			Node: row.ID, Words: row.ID.Words(), Operation: p.operation.String(), At: f.Now, From: p.from,
			Status: verdict.Status.Code(), Reason: verdict.Reason, Rules: verdict.Checks, Settings: f.Settings,
		}
		if p.operation == kms.Get && row.State == fleet.Approved {
			e.Volumes, err = v.expect(p)
		}

		return err
	})
	return e, err
}

// proof makes the node's last proof one of the question's operation.
func (q Question) proof(row nodeRow) *proof {
	p := &proof{node: row.ID, operation: q.Operation, from: row.LastFrom}
	if p.operation == 0 {
		p.operation = kms.Get
	}
	if q.From.IsValid() {
		p.from = q.From.String()
	}

	if row.Shown == nil {
		return p
	}
	p.pcrs, p.clock = row.Shown.PCRs, row.Shown.Clock
	for _, v := range row.Shown.Volumes {
		p.volumes = append(p.volumes, kms.Want{UUID: v.UUID, Digest: v.Digest, SeqID: v.SeqID})
	}

	return p
}

func (v view) expect(p *proof) (out []Expected, err error) {
	for _, want := range p.volumes {
		row, status, err := v.owned(p.node, want.UUID)
		if err != nil {
			return nil, err
		}
		if status == kms.OK {
			status = row.answers(want)
		}
		out = append(out, Expected{want.UUID, status.Code()})
	}
	return out, nil
}

// policyRoutes explain.
func (s *Service) policyRoutes() []admin.Route {
	return []admin.Route{
		{
			Method: "GET", Path: "/v1/policy/explain", Scope: admin.ScopeRead, Reaching: admin.Within, Doc: "Says what would be decided for a node, and why.",
			Query: []admin.Param{
				admin.WhoParam,
				{Name: "operation", Doc: "get, stage, put, enroll, announce or recovery; get if it is not said"},
				{Name: "at", Doc: "when it would ask; now if it is not said", Kind: "date-time"},
				{Name: "from", Doc: "address it would ask from; the last one if it is not said"},
			},
			Answer: Explanation{}, Do: s.adminExplain,
		},
		{
			Method: "POST", Path: "/v1/node/set", Scope: admin.ScopeAdmin, Reaching: admin.Within, Doc: "Changes a node's own settings and labels.",
			Query: []admin.Param{admin.WhoParam}, Body: policy.Change{}, Answer: Node{},
			Do: func(r *http.Request) (any, error) {
				var set policy.Change
				if err := strictjson.Decode(r.Body, &set); err != nil {
					return nil, err
				}
				return s.SetNode(r.Context(), r.URL.Query().Get("who"), set)
			},
		},
	}
}

func (s *Service) adminExplain(r *http.Request) (any, error) {
	q := Question{Who: r.URL.Query().Get("who")}
	if name := r.URL.Query().Get("operation"); name != "" {
		i := slices.IndexFunc([]kms.Operation{kms.Get, kms.Stage, kms.Put, kms.Enroll, kms.Announce, kms.Recovery}, func(o kms.Operation) bool { return o.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("operation %.20q: must be get, stage, put, enroll, announce or recovery", name)
		}
		q.Operation = kms.Get + kms.Operation(i)
	}

	asked, err := terms.ReadQuestion(r)
	if err != nil {
		return nil, err
	}
	q.At, q.From = asked.At, asked.From
	return s.Explain(r.Context(), q)
}
