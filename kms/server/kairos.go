package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server/kairos"
)

// A Protocol is one that nodes speak.
type Protocol string

// Protocols.
const (
	LK1    Protocol = "lk1"
	Kairos Protocol = "kairos"
)

// kairosKeeper decides for the nodes of Kairos: kairos.Keeper.
type kairosKeeper struct{ s *Server }

// kairosHandler answers the nodes of Kairos.
func (s *Server) kairosHandler() http.Handler { return kairos.Handler(kairosKeeper{s}, s.log) }

// Work implements kairos.Keeper. Meanwhile the connection does not make
// room for others.
func (k kairosKeeper) Work(ctx context.Context, f func() error) error {
	defer front.Serving(ctx)()
	return k.s.work.do(ctx, f)
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
func (k kairosKeeper) Release(ctx context.Context, p *kairos.Proof) (*kairos.Answer, error) {
	return k.decide(ctx, "kairos get", p, func(t *txn, row *kairosRow, part *kairosPartition) (outcome, error) {
		return t.kairosAnswer(row, part, p.Quote == nil)
	})
}

// Deposit implements kairos.Keeper: create-only, so that nothing that opens
// a disk is ever replaced from outside.
func (k kairosKeeper) Deposit(ctx context.Context, p *kairos.Proof, sealed []byte) error {
	_, err := k.decide(ctx, "kairos put", p, func(t *txn, row *kairosRow, part *kairosPartition) (outcome, error) {
		return t.kairosDeposit(row, part, sealed)
	})
	return err
}

// decide runs the policy in the transaction that records what it decided.
func (k kairosKeeper) decide(ctx context.Context, event string, p *kairos.Proof, serve kairosServe) (*kairos.Answer, error) {
	defer front.Serving(ctx)()
	began, operation := time.Now(), strings.TrimPrefix(event, "kairos ")
	var o outcome
	err := k.s.update(ctx, func(t *txn) (err error) {
		o.wipe() // of a run that did not count
		o, err = k.s.kairosPolicy(t, event, p, serve)
		return err
	})
	if err != nil {
		o.wipe()
		k.s.measured.request("kairos", operation, "failed", began)
		return nil, &unavailable{err}
	}

	k.s.measured.request("kairos", operation, o.result(), began)
	k.s.measured.decisions.Inc("kairos", operation, o.code())
	k.s.log.Info("decided", "protocol", Kairos, "tpm_hash", p.Hash, "operation", event, "status", o.code(), "from", p.From)
	if o.refusal != nil {
		return nil, o.refusal
	}

	return o.answer, nil
}

// kairosServe is what a node that passed all checks asked for.
type kairosServe func(*txn, *kairosRow, *kairosPartition) (outcome, error)

// kairosPolicy decides on a proof that holds, and records what it decided.
func (s *Server) kairosPolicy(t *txn, event string, p *kairos.Proof, serve kairosServe) (outcome, error) {
	row, found, err := t.kairosNode(p.Hash)
	if err != nil {
		return outcome{}, err
	}
	if !found {
		var reason kairos.Reason
		if row, reason, err = s.kairosAdmit(t, p); err != nil || reason != 0 {
			return refuse(reason, ""), err // nothing to record: the log must not be filled from outside
		}
	}

	before := row.LastStatus
	o, err := s.kairosJudge(t, p, &row, serve)
	if err != nil {
		return o, err
	}

	row.Last, row.LastStatus, row.Shown = time.Now().UTC(), o.code(), showKairos(p)
	if o.refusal == nil {
		row.verified(t, p)
	}
	if err := t.saveKairos(row); err != nil {
		return o, err
	}

	if o.refusal != nil && before == row.LastStatus {
		return o, nil // asking again
	}
	return o, t.note(Event{Event: event, Node: p.Hash.String(), Status: o.code(), From: p.From, Detail: kairosDetail(p, o)})
}

// kairosJudge: deny wins. The attestation key is spent by any proof of a
// node that is approved, whatever becomes of it.
func (s *Server) kairosJudge(t *txn, p *kairos.Proof, row *kairosRow, serve kairosServe) (outcome, error) {
	switch row.State {
	case stateDeleted:
		return refuse(kairos.NotEnrolled, ""), nil
	case statePending:
		return refuse(kairos.Pending, ""), nil
	}

	if reason, err := t.spendAK(row, p.AK); err != nil || reason != 0 {
		return refuse(reason, ""), err
	}
	if row.quarantined() {
		return refuse(kairos.Quarantined, ""), nil
	}

	if o := row.judge(p); o.refusal != nil {
		return o, nil
	}
	part := row.match(p.Request)
	if part == nil && s.enroll == Tofu && len(row.Partitions) < maxPartitions {
		part = row.adopt(p.Request)
		t.bump()
	}

	if part == nil {
		return refuse(kairos.NoVolume, ""), nil
	}
	if taken, err := t.servedByLK1(p.Request, part); err != nil || taken {
		return refuse(kairos.OtherServes, ""), err
	}

	return serve(t, row, part)
}

// kairosDetail names the volume as its node does: header bytes were
// checked to be short and printable.
func kairosDetail(p *kairos.Proof, o outcome) string {
	detail := "label " + p.Request.Label + " name " + p.Request.Name + " uuid " + p.Request.UUID
	if o.refusal != nil && o.refusal.Detail != "" {
		detail += "; " + o.refusal.Detail
	}
	return detail
}
