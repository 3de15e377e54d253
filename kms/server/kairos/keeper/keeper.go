// Package keeper decides which node of Kairos gets which passphrase, and
// keeps what it decides by.
package keeper

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// Config is what a Keeper decides by and with.
type Config struct {
	Ledger *ledger.Ledger
	Enroll fleet.Enrollment
	// StrictClock refuses a TPM whose clock is behind what it was. A software
	// TPM forgets its clock when its host loses power, so that it is audited
	// and warned of otherwise.
	StrictClock bool
	Work        *attest.Workers
	Counted     *metrics.Exchanges
	Log         *slog.Logger
	// Taken tells whether another protocol serves a volume that can be
	// replayed in none: what it protects must not be had here.
	Taken   func(ledger.View, kms.UUID) (bool, error)
	Rules   terms.Rules
	Several terms.Several
}

// A Keeper decides for the nodes of Kairos: kairos.Keeper.
type Keeper struct {
	c     Config
	fleet *fleet.Fleet[machine]
}

// New makes a keeper of rows that the config's ledger has registered.
func New(c Config, r *Rows) *Keeper { return &Keeper{c, r.fleet} }

// Handler answers the nodes of Kairos.
func (k *Keeper) Handler() http.Handler { return kairos.Handler(k, k.c.Log) }

// A view reads what Kairos' nodes have.
type view struct {
	ledger.View
	k *Keeper
}

// A txn also writes it.
type txn struct {
	view
	*ledger.Txn
}

func (k *Keeper) read(f func(view) error) error {
	return k.c.Ledger.Read(func(v ledger.View) error {
		if err := k.c.Rules.Follow(v); err != nil {
			return err
		}
		return f(view{v, k})
	})
}

func (k *Keeper) update(ctx context.Context, f func(*txn) error) error {
	return k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		if err := k.c.Rules.Follow(t.View); err != nil {
			return err
		}
		return f(&txn{view{t.View, k}, t})
	})
}

// Work implements kairos.Keeper. Meanwhile the connection does not make
// room for others.
func (k *Keeper) Work(ctx context.Context, f func() error) error {
	defer front.Serving(ctx)()
	return k.c.Work.Do(ctx, f)
}

// outcome is what a transaction decided: an answer or a refusal.
type outcome struct {
	answer  *kairos.Answer
	refusal *kairos.Refusal
}

func refuse(r kairos.Reason, detail string) outcome {
	return outcome{refusal: &kairos.Refusal{Reason: r, Detail: detail}}
}

func (o outcome) code() string {
	if o.refusal != nil {
		return o.refusal.Reason.Code()
	}
	return kms.OK.Code()
}

func (o outcome) result() string {
	if o.refusal != nil {
		return "refused"
	}
	return "ok"
}

func (o outcome) wipe() {
	if o.answer != nil {
		o.answer.Passphrase.Wipe()
	}
}

// Release implements kairos.Keeper: the decision and its audit event are on
// stable storage before the passphrase is given out.
func (k *Keeper) Release(ctx context.Context, p *kairos.Proof) (*kairos.Answer, error) {
	return k.decide(ctx, "kairos get", p, func(t *txn, row *machine, part *partition) (outcome, error) {
		return t.answer(row, part, p.Quote == nil)
	})
}

// Deposit implements kairos.Keeper: create-only, so that nothing that opens
// a disk is ever replaced from outside.
func (k *Keeper) Deposit(ctx context.Context, p *kairos.Proof, sealed []byte) error {
	_, err := k.decide(ctx, "kairos put", p, func(t *txn, row *machine, part *partition) (outcome, error) {
		return t.deposit(row, part, sealed)
	})
	return err
}

// decide runs the policy in the transaction that records what it decided.
func (k *Keeper) decide(ctx context.Context, event string, p *kairos.Proof, do serve) (*kairos.Answer, error) {
	defer front.Serving(ctx)()
	began, operation := time.Now(), strings.TrimPrefix(event, "kairos ")
	var o outcome
	err := k.update(ctx, func(t *txn) (err error) {
		o.wipe() // of a run that did not count
		o, err = k.decideOn(t, event, p, do)
		return err
	})
	if err != nil {
		o.wipe()
		k.c.Counted.Request("kairos", operation, "failed", began)
		return nil, &ledger.Unavailable{Err: err}
	}

	k.c.Counted.Request("kairos", operation, o.result(), began)
	k.c.Counted.Decision("kairos", operation, o.code())
	k.c.Log.Info("decided", "protocol", "kairos", "tpm_hash", p.Hash, "operation", event, "status", o.code(), "from", p.From)
	if o.refusal != nil {
		return nil, o.refusal
	}

	return o.answer, nil
}

// serve is what a node that passed all checks asked for.
type serve func(*txn, *machine, *partition) (outcome, error)

// decideOn decides on a proof that holds, and records what it decided.
func (k *Keeper) decideOn(t *txn, event string, p *kairos.Proof, do serve) (outcome, error) {
	row, found, err := t.node(p.Hash)
	if err != nil {
		return outcome{}, err
	}
	if !found {
		var reason kairos.Reason
		if row, reason, err = k.admit(t, p); err != nil || reason != 0 {
			return refuse(reason, ""), err // nothing to record: the log must not be filled from outside
		}
	}

	before, beforeReason := row.LastStatus, row.LastReason
	o, err := k.judge(t, event, p, &row, do)
	if err != nil {
		return o, err
	}

	behind := row.behind(p)
	if behind != "" {
		k.c.Log.Warn("a TPM's clock is behind what it was: a software TPM whose host lost power, or a quote from before", "tpm_hash", p.Hash, "from", p.From, "clock", behind)
	}
	row.Last, row.LastStatus, row.LastFrom, row.Shown = time.Now().UTC(), o.code(), p.From, show(p)
	if o.refusal == nil {
		row.verified(t, p)
	}
	if err := t.saveNode(row); err != nil {
		return o, err
	}

	if o.refusal != nil && before == row.LastStatus && beforeReason == row.LastReason {
		return o, nil // asking again
	}
	note := t.Note
	if row.State != fleet.Approved {
		note = t.NoteStranger
	}
	return o, note(ledger.Event{Event: event, Node: p.Hash.String(), Status: o.code(), Reason: string(row.LastReason), From: p.From, Detail: detail(p, o, behind)})
}

// judge: deny wins. The attestation key is spent by any proof of a node that
// is approved, unless it is told to ask again.
func (k *Keeper) judge(t *txn, event string, p *kairos.Proof, row *machine, do serve) (outcome, error) {
	row.LastReason = ""
	switch row.State {
	case fleet.Deleted:
		return refuse(kairos.NotEnrolled, ""), nil
	case fleet.Pending:
		return refuse(kairos.Pending, ""), nil
	}

	reason, err := t.replayed(row, p)
	if err != nil || reason != 0 {
		return refuse(reason, ""), err
	}
	o, err := k.judgeFresh(t, event, p, row, do)
	if err != nil || o.refusal != nil && !o.refusal.Reason.Final() {
		return o, err // it asks again, with the same key
	}
	return o, t.spendAK(row, p)
}

// judgeFresh judges a proof of an approved node that was not sent before.
func (k *Keeper) judgeFresh(t *txn, event string, p *kairos.Proof, row *machine, do serve) (outcome, error) {
	if row.quarantined() {
		row.LastReason = policy.RuleQuarantine
		return refuse(kairos.Quarantined, ""), nil
	}

	part := row.match(p.Request)
	o, vouched, f, err := t.abide(strings.TrimPrefix(event, "kairos "), p, row, part)
	if err != nil || o.refusal != nil {
		return o, err
	}
	if o := row.judge(p, k.c.StrictClock, vouched); o.refusal != nil {
		row.LastReason = policy.RuleBootState
		return o, nil
	}
	if part == nil && k.c.Enroll == fleet.Tofu && len(row.Partitions) < maxPartitions {
		part = row.adopt(p.Request)
		t.Bump()
	}

	if part == nil {
		return refuse(kairos.NoVolume, ""), nil
	}
	if taken, err := t.taken(p.Request, part); err != nil || taken {
		return refuse(kairos.OtherServes, ""), err
	}

	if o, err = do(t, row, part); err == nil && o.refusal == nil {
		row.count(part, f)
	}
	return o, err
}

// detail names the volume as its node does: header bytes were
// checked to be short and printable.
func detail(p *kairos.Proof, o outcome, behind string) string {
	text := "label " + p.Request.Label + " name " + p.Request.Name + " uuid " + p.Request.UUID
	if o.refusal != nil && o.refusal.Detail != "" {
		text += "; " + o.refusal.Detail
	}
	if behind != "" {
		text += "; TPM clock " + behind
	}
	return text
}
