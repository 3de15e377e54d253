package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
)

// waiter is a key server that says something after a while, or nothing.
type waiter struct {
	Server
	after time.Duration
	err   error
	waits int
}

func (w *waiter) Wait(ctx context.Context, _ string, _ []byte) error {
	w.waits++
	if err := sleep(ctx, w.after); err != nil {
		return err
	}
	return w.err
}

// D81: a word of the key server ends the pause, at once; one that changed
// nothing is followed by a whole pause, so that nobody on the LAN has a
// machine ask all the time. One that cannot be waited for costs nothing.
func TestPace(t *testing.T) {
	cookie := []byte("cookie")
	for _, row := range []struct {
		name   string
		server waiter
		cookie []byte
		took   []time.Duration // each wait; 0: a pause
		waits  int
	}{
		{"it speaks", waiter{after: time.Second}, cookie, []time.Duration{time.Second, 0, time.Second}, 2},
		{"it speaks late", waiter{after: time.Minute}, cookie, []time.Duration{time.Minute, 0, time.Minute}, 2},
		{"it is silent", waiter{after: time.Hour}, cookie, []time.Duration{kms.MaxWait, kms.MaxWait}, 2},
		{"it goes away", waiter{after: time.Minute, err: errors.New("connection reset")}, cookie, []time.Duration{time.Minute, time.Minute}, 2},
		{"it tells nothing", waiter{err: errors.New("HTTP status 404")}, cookie, []time.Duration{0, 0, 0}, 3},
		{"it gave no cookie", waiter{after: time.Second}, nil, []time.Duration{0, 0, 0}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pace{pause: maxPause}
				for i, want := range row.took {
					began := time.Now()
					if err := p.wait(t.Context(), &row.server, "http://192.0.2.1", row.cookie); err != nil {
						t.Fatal(err)
					}
					took := time.Since(began)
					if want > 0 && took != want || want == 0 && (took < maxPause/2 || took > maxPause) {
						t.Errorf("wait %d took %v, want %v, or a pause for 0", i+1, took, want)
					}
				}
				if row.server.waits != row.waits {
					t.Errorf("it was asked %d times to tell, want %d", row.server.waits, row.waits)
				}
			})
		})
	}
}

// The boot's end ends a pause, too.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := pace{pause: maxPause}
		if err := p.wait(ctx, &waiter{after: time.Hour}, "http://192.0.2.1", []byte("cookie")); err == nil {
			t.Error("a pause outlives the boot")
		}
	})
}
