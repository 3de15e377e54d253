package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// lk1Fleet is machines with software TPMs, P-256 keys.
type lk1Fleet struct {
	b    *Load
	tpms []*softtpm.TPM
}

func newLK1Fleet(b *Load) (fleet, error) {
	return &lk1Fleet{b, make([]*softtpm.TPM, b.Nodes)}, nil
}

// What the KMS must compute for a challenge, and for a whole exchange:
// MakeCredential and its signature; then both agreements and the quote's
// signature. Its own X25519 key is made once for many.
var (
	bareChallenge = []string{"P-256 generate", "P-256 ECDH", "Ed25519 sign"}
	bareExchange  = append(slices.Clone(bareChallenge), "X25519", "ML-KEM-768 decapsulate", "P-256 ECDSA verify")
)

func (f *lk1Fleet) runs() []workload {
	return []workload{{"lk1 challenges", f.challengeOnly, bareChallenge, nil}, {"lk1 whole exchanges", f.get, bareExchange, nil}}
}

// enroll makes a machine known: it asks once and is approved.
func (f *lk1Fleet) enroll(ctx context.Context, i int) error {
	tpm, err := softtpm.New()
	if err != nil {
		return err
	}
	f.tpms[i] = tpm
	return f.approve(ctx, i)
}

// approve makes a machine that has its TPM known.
func (f *lk1Fleet) approve(ctx context.Context, i int) error {
	tpm := f.tpms[i]
	if err := f.get(ctx, i); codeOf(err) != kms.Pending.Code() {
		return fmt.Errorf("a machine that nobody knows got: %w", err)
	}

	q := url.Values{"uuid": {uuidOf(i).String()}}
	var rows []lk1.Volume
	if err := f.b.call(ctx, "POST", "/v1/volume/put", q, secret.Passphrase().Reveal(), &rows); err != nil {
		return err
	}

	var done lk1.Approved
	return f.b.call(ctx, "POST", "/v1/node/approve", nil, lk1.Approval{Who: tpm.NodeID().String(), Volumes: []kms.UUID{uuidOf(i)}}, &done)
}

func uuidOf(i int) (u kms.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(i+1))
	return u
}

func (f *lk1Fleet) client(i int) *kms.Client {
	return &kms.Client{Pins: []kms.Pin{f.b.pin}, Dial: dialer(i).DialContext}
}

func (f *lk1Fleet) get(ctx context.Context, i int) error {
	g, err := f.client(i).Get(ctx, f.b.url, f.tpms[i], []kms.Want{{UUID: uuidOf(i)}})
	if err == nil {
		g.Wipe()
	}
	return err
}

// errOpened ends an exchange after the challenge.
var errOpened = errors.New("challenge received")

// deaf is a TPM that stops at the challenge.
type deaf struct{ *softtpm.TPM }

func (deaf) Activate(context.Context, []byte, []byte) (s secret.Bytes, err error) {
	return s, errOpened
}

func (f *lk1Fleet) challengeOnly(ctx context.Context, i int) error {
	_, err := f.client(i).Get(ctx, f.b.url, deaf{f.tpms[i]}, []kms.Want{{UUID: uuidOf(i)}})
	if errors.Is(err, errOpened) {
		return nil
	}
	return err
}

// An answerTime is how long an exchange takes that ends one way: from
// outside, a refusal should not differ from a grant.
type answerTime struct {
	Answer string        `json:"answer"`
	Median time.Duration `json:"median_ns"`
}

// answerRuns is how often each way is timed, in turn.
const answerRuns = 101

func (f *lk1Fleet) answers(ctx context.Context) ([]answerTime, error) {
	stranger, err := softtpm.New()
	if err != nil {
		return nil, err
	}

	changed := *f.tpms[0]
	changed.PCRs = map[int][32]byte{7: {99}}
	asks := []struct {
		name, code string
		tpm        kms.Prover
	}{{"granted", "", f.tpms[0]}, {"pending", kms.Pending.Code(), stranger}, {"other boot state", kms.PCRMismatch.Code(), &changed}}

	times := make([][]time.Duration, len(asks))
	for range answerRuns {
		for i, ask := range asks {
			start := time.Now()
			_, err := f.client(0).Get(ctx, f.b.url, ask.tpm, []kms.Want{{UUID: uuidOf(0)}})
			if codeOf(err) != ask.code {
				return nil, fmt.Errorf("%s: %w", ask.name, err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}

	var out []answerTime
	for i, ask := range asks {
		slices.Sort(times[i])
		out = append(out, answerTime{ask.name, times[i][answerRuns/2]})
	}
	return out, nil
}
