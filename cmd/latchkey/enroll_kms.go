package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// A refusal is what the KMS decided for one volume.
type refusal struct {
	uuid   kms.UUID
	status kms.Status
}

func (r *refusal) Error() string {
	return fmt.Sprintf("enrolling volume %s: the KMS says %s", r.uuid, r.status.Code())
}

// Code is the KMS' stable code.
func (r *refusal) Code() string { return r.status.Code() }

// register makes the KMS know this machine, the volume's header and the
// MAC of its key: all but a secret. It waits while an operator has to act.
func (e *enrollment) register(ctx context.Context) error {
	var said string
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		err := e.deposit(ctx, kms.Enroll, kms.Offer{})
		if err == nil || ctx.Err() != nil {
			return err
		}

		code := codes.Of(err)
		if !e.wait || errors.Is(err, tpm.ErrFailureMode) || !operatorActs(code) && (said == "" || decided(err)) {
			return e.exit(err)
		}

		if code != said {
			e.say("%s", strings.TrimSuffix(fmt.Sprintf("this machine is %q; %s: waiting: %s", e.words(), code, kmsAdvice(code, e.words())), ": "))
			said = code
		}
		if err := rest(ctx, pause); err != nil {
			return fmt.Errorf("waiting for the operator (%s): %w", code, err)
		}
	}
}

func (e *enrollment) words() string { return e.id.NodeID().Words() }

// operatorActs tells whether waiting has a point: an operator can make a
// yes of it while we wait.
func operatorActs(code string) bool {
	switch code {
	case kms.Pending.Code(), kms.Quarantined.Code(), kms.NotBound.Code(), kms.TableFull.Code():
		return true
	}
	return false
}

// rest waits for about d.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deposit leaves one offer for the volume, with the MAC of its key.
func (e *enrollment) deposit(ctx context.Context, op kms.Operation, o kms.Offer) error {
	mac := e.volume.MAC()
	o.UUID, o.MAC = e.want.UUID, mac[:]
	g, err := e.client.Deposit(ctx, e.url, e.id, op, []kms.Want{e.want}, []kms.Offer{o})
	if err != nil {
		return err
	}
	defer g.Wipe()
	if status := g.Volumes[0].Status; status != kms.OK {
		return &refusal{e.want.UUID, status}
	}
	return nil
}

// decided tells whether the KMS has said no. Otherwise it may have taken
// the offer, and its answer was lost.
func decided(err error) bool {
	_, ofVolume := err.(*refusal)
	return ofVolume || refusedBy(err)
}

// putTries is how often a put is sent when its answer does not come: the
// same one again is no error to the KMS.
const putTries = 4

// put gives the KMS the secret, or what the TPM made of it.
func (e *enrollment) put(ctx context.Context, o kms.Offer) (err error) {
	for try := range putTries {
		if try > 0 {
			e.say("the KMS may not have its part yet: asking again (try %d of %d): %v", try+1, putTries, err)
			if err := rest(ctx, time.Second<<try); err != nil {
				return err
			}
		}
		if err = e.deposit(ctx, kms.Put, o); err == nil || decided(err) || errors.Is(err, tpm.ErrFailureMode) {
			return err
		}
	}
	return err
}

// offer is what the KMS gets for a passphrase.
func (e *enrollment) offer(ctx context.Context, passphrase secret.Bytes) (kms.Offer, error) {
	if e.mode == kms.Static {
		return kms.Offer{Kind: kms.Static, Secret: passphrase.Clone()}, nil
	}
	blob, err := e.id.Seal(ctx, passphrase)
	if err != nil {
		return kms.Offer{}, advise(err)
	}
	return kms.Offer{Kind: kms.Bound, Secret: secret.Own(blob)}, nil
}

// exit gives the KMS' answer its exit code and advice.
func (e *enrollment) exit(err error) error {
	if r, ok := err.(*refusal); ok {
		return &cli.Exit{Code: cli.Refused, Err: fmt.Errorf("%s: %w (%s)", r.Code(), r, kmsAdvice(r.Code(), e.words()))}
	}
	return kmsExit(fmt.Errorf("this machine is %q: %w", e.words(), err), e.words())
}
