package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
)

// activator is an Identity that only activates, and takes its time.
type activator struct {
	Identity
	takes time.Duration
	calls int
}

func (a *activator) Activate(context.Context, []byte, []byte) (secret.Bytes, error) {
	a.calls++
	time.Sleep(a.takes)
	return secret.Own([]byte("opened")), nil
}

// The TPM serves one candidate at a time, and none whose challenge has
// expired meanwhile.
func TestTurn(t *testing.T) {
	for _, row := range []struct {
		name  string
		holds time.Duration // how long another candidate has the TPM
		code  string
		after time.Duration
	}{
		{"free", 0, "", 0},
		{"free after a moment", 2 * time.Second, "", 2 * time.Second},
		{"busy until the challenge has expired", time.Minute, kms.CodeNoGrant, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			free := make(chan struct{}, 1)
			free <- struct{}{}
			id := &activator{}
			other := &turn{Identity: id, free: free}
			if row.holds > 0 {
				if _, err := other.Activate(t.Context(), nil, nil); err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(row.holds, other.end)
			}

			mine := &turn{Identity: id, free: free}
			began := time.Now()
			_, err := mine.Activate(t.Context(), nil, nil)
			if got := codes.Of(err); got != row.code || time.Since(began) != row.after {
				t.Errorf("%s: Activate = %v after %s, want code %q after %s", row.name, err, time.Since(began), row.code, row.after)
			}
			mine.end()
			time.Sleep(2 * time.Minute)
			if len(free) != 1 {
				t.Errorf("%s: the TPM is free %d times in the end, want once", row.name, len(free))
			}
		})
	}
}

// A turn that was called off while it waited leaves the TPM alone.
func TestTurnCalledOff(t *testing.T) {
	free := make(chan struct{}, 1)
	id := &activator{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, isFree := range []bool{false, true} {
		if isFree {
			free <- struct{}{}
		}
		mine := &turn{Identity: id, free: free}
		if _, err := mine.Activate(ctx, nil, nil); !errors.Is(err, context.Canceled) || id.calls != 0 {
			t.Errorf("free: %t: Activate = %v with %d uses of the TPM, want none", isFree, err, id.calls)
		}
		mine.end()
	}
	if len(free) != 1 {
		t.Error("the TPM is not free in the end")
	}
}
