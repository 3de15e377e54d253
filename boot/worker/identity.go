package worker

import (
	"context"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/tpm"
)

// identity is the TPM's keys, which are loaded while disks and links are
// looked for.
type identity struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when id and err are there
	id     Identity
	err    error
}

// identify begins to load the TPM's keys.
func (w *worker) identify(ctx context.Context) *identity {
	ctx, cancel := context.WithCancel(ctx)
	i := &identity{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(i.done)
		i.id, i.err = w.loadIdentity(ctx)
	}()
	return i
}

// get waits for the keys. Its error is that of the source kms; others may
// still open the volumes.
func (i *identity) get(ctx context.Context) (Identity, error) {
	select {
	case <-i.done:
		return i.id, i.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// closeWait is how long the TPM may take to unload its keys.
const closeWait = 30 * time.Second

// close unloads the keys, so that the real root finds the TPM empty. A TPM
// that does not answer holds up the boot for closeWait at most.
func (i *identity) close() {
	i.cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if <-i.done; i.id != nil {
			i.id.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(closeWait):
	}
}

// mayUseTPM waits for PID 1's word that the TPM may be used.
func (w *worker) mayUseTPM(ctx context.Context) error {
	_, err := w.word(ctx)
	return err
}

// word is that word, with what the latch has read of PCRs.
func (w *worker) word(ctx context.Context) (wire.Record, error) {
	select {
	case r := <-w.entered:
		w.entered <- r // for the next who asks
		if r.Code != "" {
			return r, codes.Fail(r.Code, "the TPM cannot be used: %s", r.Text)
		}
		return r, nil
	case <-ctx.Done():
		return wire.Record{}, ctx.Err()
	}
}

// loadIdentity waits until the TPM may be used.
func (w *worker) loadIdentity(ctx context.Context) (Identity, error) {
	if !w.plan.NeedsKMS() {
		return nil, codes.Fail(codes.PlanInvalid, "no volume has the source kms")
	}
	word, err := w.word(ctx)
	if err != nil {
		return nil, err
	}

	id, err := step(ctx, w, "tpm", 2*time.Minute, func(ctx context.Context) (Identity, string, error) {
		t, err := w.tpm()
		if err != nil {
			return nil, "", err
		}
		ek := map[string]tpm.EK{"": tpm.EKAuto, "p256": tpm.EKP256, "rsa2048": tpm.EKRSA2048}[w.plan.TPM.EK]
		return t.Identify(ctx, tpm.Options{EK: ek, Kept: w.plan.TPM.Kept})
	})
	if err != nil {
		return nil, err
	}

	id.Know(held(word))
	go func() {
		if err := id.Prepare(ctx, wire.Likely[:]); err != nil {
			w.log.Warn("the TPM is not ready for an answer yet", "err", err)
		}
	}()
	return id, nil
}

// held are the PCRs that came with PID 1's word; none if the latch has not
// read them. Each quote shows whether they are still true.
func held(word wire.Record) (values []kms.PCR) {
	if word.Held == (wire.Record{}).Held {
		return nil
	}
	for i, n := range wire.Likely {
		values = append(values, kms.PCR{Index: n, Value: word.Held[i]})
	}
	return values
}

// prepareUnseal has the TPM load what a sealed secret needs while the KMS is
// being asked, if a header says that its secret is one.
func (w *worker) prepareUnseal(ctx context.Context, id Identity, volumes []*unlock.Volume) {
	if !slices.ContainsFunc(volumes, func(v *unlock.Volume) bool { return unlock.Bound(v.Header) }) {
		return
	}
	go func() {
		if err := id.PrepareUnseal(ctx); err != nil {
			w.log.Warn("the TPM is not ready to unseal yet", "err", err)
		}
	}()
}
