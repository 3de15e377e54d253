package boot

import (
	"fmt"
	"time"

	"latchkey/boot/wire"
)

// A workerKeeper is PID 1's side of the worker.
type workerKeeper struct {
	keeper
	word *wire.Record               // that the TPM may be used or not: nil as long as nobody knows
	held [len(wire.Likely)][32]byte // what the latch read of PCRs, for this word
}

func (w *workerKeeper) start() error {
	if err := w.keeper.start(); err != nil {
		return &StepError{"unlock", "failed", err}
	}
	if w.word != nil {
		w.send(*w.word)
	}
	return nil
}

// entered tells this worker, and each that follows, that the TPM may be
// used, or by code and text why not.
func (w *workerKeeper) entered(code, text string) {
	r := wire.Record{Kind: wire.KindEntered, Code: code, Text: text, Held: w.held}
	if w.word != nil && *w.word == r {
		return
	}
	w.word = &r
	w.send(r)
}

// finish lets a worker that is done tell the KMS and take the network
// down, which went on beside the latch, and ends it if it takes its time.
// When it returns nil, the worker's memory is gone.
func (w *workerKeeper) finish(grace time.Duration, note func(wire.Record)) error {
	steps := func(r wire.Record) {
		if r.Kind == wire.KindStep {
			note(r)
		}
	}
	if w.child == nil {
		return nil
	}
	late := time.AfterFunc(grace, w.child.Kill)
	defer late.Stop()
	if err := w.drain(grace+stopGrace, steps); err != nil {
		return fmt.Errorf("ending the worker: %w", err)
	}
	return nil
}
