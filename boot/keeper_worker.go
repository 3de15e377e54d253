package boot

import (
	"fmt"
	"time"

	"latchkey/boot/wire"
)

// A workerKeeper starts the worker, and starts it again.
type workerKeeper struct {
	sys      System
	child    Child
	started  int           // since the last long-lived one
	ever     int           // in this boot
	born     time.Duration // when the running one was started
	again    <-chan time.Time
	isAbsent bool
	isOpen   bool // the TPM may be used
}

func (w *workerKeeper) start() error {
	w.again = nil
	child, err := w.sys.Start("worker", w.ever)
	if err != nil {
		return &StepError{"unlock", "failed", fmt.Errorf("starting the worker: %w", err)}
	}
	w.child = child
	w.started++
	w.ever++
	w.born = w.sys.Now()
	return nil
}

func (w *workerKeeper) records() <-chan wire.Record {
	if w.child == nil {
		return nil
	}
	return w.child.Records()
}

// entered tells the worker that the TPM may be used, once per worker.
func (w *workerKeeper) entered(absent bool) {
	w.isOpen, w.isAbsent = true, absent
	w.resend()
}

func (w *workerKeeper) resend() {
	if !w.isOpen || w.child == nil {
		return
	}
	r := wire.Record{Kind: wire.KindEntered}
	if w.isAbsent {
		r.Code = "tpm-missing"
	}
	w.child.Send(r) // a worker that is gone shows as the end of its records
}

// backoff tells how long to wait before the next start: nothing the first
// time, then 1, 2, 4 … 30 s; ok is false when it was started often
// enough. A worker that lived for long was not wrong from the start.
func (w *workerKeeper) backoff() (pause time.Duration, ok bool) {
	const long = 5 * time.Minute
	w.child = nil
	if w.sys.Now()-w.born > long {
		w.started = 1
	}
	switch {
	case w.started > maxRestarts:
		return 0, false
	case w.started == 1:
		return 0, true
	}
	return min(30*time.Second, time.Second<<(w.started-2)), true
}

func (w *workerKeeper) later(pause time.Duration) { w.again = time.After(pause) }

func (w *workerKeeper) kill() {
	if w.child != nil {
		w.child.Kill()
	}
}

// stop ends the worker and waits until its memory is gone.
func (w *workerKeeper) stop() {
	if w.child == nil {
		return
	}
	w.child.Kill()
	for range w.child.Records() {
	}
	w.child = nil
}

// finish lets a worker that is done tell the KMS and take the network
// down, which went on beside the latch, and ends it if it takes its time.
// When it returns, the worker's memory is gone.
func (w *workerKeeper) finish(grace time.Duration, note func(wire.Record)) {
	if w.child == nil {
		return
	}
	late := time.AfterFunc(grace, w.child.Kill)
	defer late.Stop()
	for r := range w.child.Records() {
		if r.Kind == wire.KindStep {
			note(r)
		}
	}
	w.child = nil
}
