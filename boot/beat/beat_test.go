package beat_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server"
)

// A machine beats once a minute, and says so once.
func TestBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.approve()
		l.run(func() {
			time.Sleep(time.Second)
			if n := l.took(func() { time.Sleep(time.Hour) }); n != 60 {
				t.Errorf("%d beats in an hour, want 60", n)
			}
			l.mustSee(2 * time.Minute)
		})
		if l.said("level=") != 1 || l.said("sees this machine") != 1 {
			t.Errorf("the log has\n%s", l.log.String())
		}
	})
}

// While no key server is there it asks once a minute at most; when one is, it
// is seen as of now, at once.
func TestServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.approve()
		l.run(func() {
			time.Sleep(10 * time.Minute)
			l.set(func() { l.away = true })
			if n := l.took(func() { time.Sleep(time.Hour) }); n < 55 || n > 70 {
				t.Errorf("%d questions in an hour, want one a minute", n)
			}
			l.set(func() { l.away = false })
			time.Sleep(62 * time.Second) // one ticket of before, and the next
			l.mustSee(62 * time.Second)
		})
		if l.said("level=WARN") != 1 || l.said("kms-unreachable") != 1 || l.said("level=INFO") != 2 {
			t.Errorf("the log has\n%s", l.log.String())
		}
	})
}

// A key server that knows the tickets no more is registered with again.
func TestAnotherStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.approve()
		l.run(func() {
			time.Sleep(10 * time.Minute)
			var fresh *server.Server
			l.set(func() { fresh = l.newServer() })
			l.kms, l.Machine.Pins[0] = fresh, fresh.Pins()[0]
			l.approve()
			time.Sleep(90 * time.Second)
			l.mustSee(90 * time.Second)
		})
		if l.said("kms-no-grant") != 1 {
			t.Errorf("the log has\n%s", l.log.String())
		}
	})
}

// Who is refused asks seldom, as that is a whole exchange, and says why once.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.run(func() {
			if n := l.took(func() { time.Sleep(4 * time.Hour) }); n < 20 || n > 40 {
				t.Errorf("%d questions in four hours, want one in ten minutes", n)
			}
			l.approve()
			time.Sleep(12 * time.Minute)
			l.mustSee(2 * time.Minute)
		})
		if l.said("not seen: pending") != 1 {
			t.Errorf("the log has\n%s", l.log.String())
		}
	})
}

// A TPM that fails is opened again.
func TestTPMFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.approve()
		l.run(func() {
			time.Sleep(10 * time.Minute)
			l.set(func() { l.fails = errors.New("the TPM is gone") })
			time.Sleep(time.Hour)
			l.set(func() { l.fails = nil })
			time.Sleep(2 * time.Minute)
			l.mustSee(2 * time.Minute)
		})
		if l.said("the TPM is gone") != 2 { // when it signs, and when it is opened
			t.Errorf("the log has\n%s", l.log.String())
		}
	})
}

// What is no key server of the plan is set aside, and the next one asked.
func TestRogueServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.approve()
		l.rogue = true
		l.run(func() {
			time.Sleep(time.Minute)
			l.mustSee(time.Minute)
		})
		if len(l.aside) != 1 || l.aside[0] != "http://rogue.local" {
			t.Errorf("set aside: %q", l.aside)
		}
	})
}

// Once says that the machine is there, and ends; or why not.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		if err := l.Once(ctx); err == nil || !strings.Contains(err.Error(), "pending") {
			t.Errorf("Once = %v, want pending", err)
		}
		l.approve()
		if err := l.Once(ctx); err != nil {
			t.Errorf("Once = %v", err)
		}
		l.mustSee(time.Second)
		l.fails = errors.New("the TPM is gone")
		if err := l.Once(ctx); err == nil || !strings.Contains(err.Error(), "opening the TPM") {
			t.Errorf("Once without a TPM = %v", err)
		}
		l.fails, l.away = nil, true
		if err := l.Once(ctx); err == nil {
			t.Error("Once without a key server is no failure")
		}
		if l.opened != 0 {
			t.Errorf("%d TPMs are open", l.opened)
		}
	})
}

// Waits differ from machine to machine.
func TestJitter(t *testing.T) {
	for jitter, want := range map[float64]int{0: 66, 0.999: 54} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.approve()
			l.Jitter = func() float64 { return jitter }
			l.run(func() {
				if n := l.took(func() { time.Sleep(time.Hour) }); n < want || n > want+2 {
					t.Errorf("%d beats in an hour at %v, want %d", n, jitter, want)
				}
			})
		})
	}
}
