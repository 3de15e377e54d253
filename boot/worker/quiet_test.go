package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// On a slow machine that is healthy nobody is told that its disk is missing:
// only when the drivers are loaded and no device has come for a while.
func TestMissingIsSaidWhenQuiet(t *testing.T) {
	for _, row := range []struct {
		name    string
		drivers time.Duration   // when they are loaded
		events  []time.Duration // of block devices
		said    time.Duration
	}{
		{"nothing happens", 0, nil, 5 * time.Second},
		{"drivers take their time", 12 * time.Second, nil, 15 * time.Second},
		{"disks come one by one", 0, []time.Duration{4 * time.Second, 8 * time.Second, 12 * time.Second}, 17 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				sys := newSlowDisks(t)
				sys.blocks = nil
				told := make(chan time.Duration, 10)
				text := ""
				w := &worker{
					sys: sys, plan: &plan.Plan{Wait: time.Minute, Volumes: []plan.Volume{{UUID: testUUID, Name: "root"}}},
					blocks: make(chan struct{}, 1), drivers: make(chan struct{}),
					conn: wire.NewConn(&sentTo{func(r wire.Record) { text = r.Text; told <- time.Since(began) }}),
				}
				time.AfterFunc(row.drivers, func() { close(w.drivers) })
				for _, at := range row.events {
					time.AfterFunc(at, w.look)
				}
				if _, err := w.findDisks(t.Context()); err == nil {
					t.Error("found a disk that is not there")
				}
				if at := <-told; at != row.said {
					t.Errorf("said after %s, want %s", at, row.said)
				}
				if !strings.Contains(text, "there is no disk at all; is its driver in the image?") {
					t.Errorf("said %q", text)
				}
			})
		})
	}
}

// sentTo is a socket that hands on each record.
type sentTo struct{ heard func(wire.Record) }

func (s *sentTo) Write(b []byte) (int, error) {
	r, err := wire.Decode(b)
	if err == nil {
		s.heard(r)
	}
	return len(b), err
}

func (s *sentTo) Read([]byte) (int, error) { select {} }
