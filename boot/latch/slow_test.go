package latch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
)

// slow is a TPM that comes late, or never.
type slow struct {
	machine
	after time.Duration
}

func (s slow) OpenTPM(ctx context.Context) (latch.TPM, error) {
	time.Sleep(s.after)
	return s.machine.OpenTPM(ctx)
}

// While no TPM appears, people are told so: half a minute of silence looks
// like a machine that hangs.
func TestSlowTPM(t *testing.T) {
	for after, want := range map[time.Duration]int{time.Second: 1, 20 * time.Second: 2} {
		synctest.Test(t, func(t *testing.T) {
			s := &socket{orders: make(chan wire.Record)}
			if err := latch.Run(slow{machine{fails: codes.Fail(codes.TPMMissing, "none")}, after}, wire.NewConn(s), 0); err != nil {
				t.Fatal(err)
			}
			if len(s.said) != want || want == 2 && (s.said[0].Kind != wire.KindWaiting || s.said[0].Code != codes.TPMMissing) {
				t.Errorf("a TPM that is missed after %s: said %+v, want %d records", after, s.said, want)
			}
		})
	}
}
