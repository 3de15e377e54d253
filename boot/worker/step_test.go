package worker

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// clock is a System that only tells the time.
type clock struct {
	System
	began time.Time
}

func (c clock) Now() time.Duration { return time.Since(c.began) }

// sent is the worker's side of a socket that keeps what was sent.
type sent struct{ records []wire.Record }

func (s *sent) Write(b []byte) (int, error) {
	r, err := wire.Decode(b)
	if err != nil {
		return 0, err
	}
	s.records = append(s.records, r)
	return len(b), nil
}

func (*sent) Read([]byte) (int, error) { return 0, io.EOF }

// A step tells PID 1 how long it took and how it ended, ends by its
// deadline even if what it runs does not, and says nothing when called off.
func TestStep(t *testing.T) {
	broken := codes.Fail("volume-missing", "no disk")
	for _, row := range []struct {
		name     string
		deadline time.Duration
		cancel   time.Duration // when it is called off, 0 for never
		run      func(context.Context) (int, string, error)
		want     int
		code     string        // of the error
		takes    time.Duration // until step returns
		said     *wire.Record  // nil: nothing
	}{
		{
			"good", time.Minute, 0, func(context.Context) (int, string, error) { time.Sleep(time.Second); return 7, "detail", nil },
			7, "", time.Second, &wire.Record{Text: "detail", Duration: time.Second},
		},
		{
			"failed", time.Minute, 0, func(context.Context) (int, string, error) { return 0, "root", broken },
			0, "volume-missing", 0, &wire.Record{Text: "root", Code: "volume-missing"},
		},
		{
			"late, and says why", time.Second, 0, func(ctx context.Context) (int, string, error) { <-ctx.Done(); return 0, "", broken },
			0, "volume-missing", time.Second, &wire.Record{Code: "volume-missing", Duration: time.Second},
		},
		{
			"late, and says nothing", time.Second, 0, func(context.Context) (int, string, error) { time.Sleep(time.Hour); return 0, "", nil },
			0, "timeout", 2 * time.Second, &wire.Record{Code: "timeout", Duration: 2 * time.Second},
		},
		{
			"without a deadline", 0, 0, func(context.Context) (int, string, error) { time.Sleep(24 * time.Hour); return 1, "", nil },
			1, "", 24 * time.Hour, &wire.Record{Duration: 24 * time.Hour},
		},
		{
			"called off", time.Minute, time.Second, func(ctx context.Context) (int, string, error) { <-ctx.Done(); return 0, "", ctx.Err() },
			0, "failed", time.Second, nil,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			socket := &sent{}
			w := &worker{sys: clock{began: time.Now()}, conn: wire.NewConn(socket)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if row.cancel > 0 {
				time.AfterFunc(row.cancel, cancel)
			}
			got, err := step(ctx, w, "disks", row.deadline, row.run)
			if got != row.want || codes.Of(err) != row.code || w.sys.Now() != row.takes {
				t.Errorf("%s: step = %d, %v after %s, want %d, code %q after %s", row.name, got, err, w.sys.Now(), row.want, row.code, row.takes)
			}
			time.Sleep(2 * time.Hour) // what hangs comes back

			if row.said == nil {
				if len(socket.records) != 0 {
					t.Errorf("%s: said %+v, want nothing", row.name, socket.records)
				}
				return
			}
			want := *row.said
			want.Kind, want.Name = wire.KindStep, "disks"
			if len(socket.records) != 1 || socket.records[0] != want {
				t.Errorf("%s: said %+v, want %+v", row.name, socket.records, want)
			}
		})
	}
}

// begin's result can be waited for by any number.
func TestBegin(t *testing.T) {
	ran := 0
	wait := begin(func() { ran++ })
	wait()
	wait()
	if ran != 1 {
		t.Errorf("ran %d times, want once", ran)
	}
}
