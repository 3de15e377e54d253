package worker

import (
	"context"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
)

// A turn is one attempt's use of the TPM: one candidate at a time, from
// the credential to the answer, and only after it has shown a pinned key
// (the client asks for Activate no earlier).
type turn struct {
	Identity
	free chan struct{} // holds one value while the TPM is free
	held bool
}

// Activate waits for its turn. A challenge that had to wait for long has
// expired at the KMS, so it is not worth the TPM's time. A second one of the
// same attempt, after the KMS was shown what was booted, has its turn.
func (t *turn) Activate(ctx context.Context, blob, seed []byte) (secret.Bytes, error) {
	if t.held {
		return t.Identity.Activate(ctx, blob, seed)
	}
	stale := time.NewTimer(5 * time.Second)
	defer stale.Stop()
	select {
	case <-t.free:
		t.held = true
	case <-ctx.Done():
		return secret.Bytes{}, ctx.Err()
	case <-stale.C:
		return secret.Bytes{}, codes.Fail(kms.CodeNoGrant, "the TPM was busy with another key server")
	}
	if err := ctx.Err(); err != nil {
		return secret.Bytes{}, err
	}
	return t.Identity.Activate(ctx, blob, seed)
}

func (t *turn) end() {
	if t.held {
		t.free <- struct{}{}
	}
}
