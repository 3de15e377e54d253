package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server/lk1"
)

// Waiting is what machines cost that were refused and wait for an operator.
type Waiting struct {
	KMS      string
	Machines int
	Seconds  int
}

// readmitted is how many machines are let go one by one, to see how soon they
// hear of it.
const readmitted = 50

// Run has so many machines wait, and measures the key server meanwhile.
func (w *Waiting) Run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "latchkey-kms-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &Load{KMS: w.KMS, Nodes: w.Machines, Seconds: w.Seconds, Protocols: []string{"lk1"}}
	b.home = home.Home{Location: config.Location{Data: dir, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(dir, "kms.db")}}}
	if err := b.start(ctx); err != nil {
		return err
	}
	defer b.stop()
	machines, err := newLK1Fleet(b)
	if err != nil {
		return err
	}
	f := machines.(*lk1Fleet)
	if err := b.each(setupLanes, func(i int) error { return f.stopped(ctx, i) }); err != nil {
		return fmt.Errorf("enrolling and stopping the machines: %w", err)
	}
	before, _ := b.resident()

	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	hall := &hall{f: f, heard: make([]atomic.Int64, w.Machines), since: make([]atomic.Int64, w.Machines)}
	for i := range w.Machines {
		group.Go(func() { hall.wait(ctx, i) })
	}
	for !hall.calm() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return w.measure(ctx, b, hall, before, out)
}

func (w *Waiting) measure(ctx context.Context, b *Load, hall *hall, before int64, out io.Writer) error {
	cpu, err := b.cpu()
	if err != nil {
		return err
	}
	asked, began := hall.asked.Load(), time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(w.Seconds) * time.Second):
	}
	after, err := b.cpu()
	if err != nil {
		return err
	}
	resident, _ := b.resident()
	took := time.Since(began)
	fmt.Fprintf(out, "%d machines wait: %.1f %% of a core of the KMS over %v, in which they asked %d times; resident %d MiB before they came, %d now\n",
		w.Machines, 100*(after-cpu).Seconds()/took.Seconds(), took.Round(time.Second), hall.asked.Load()-asked, before>>20, resident>>20)

	var heard []time.Duration
	for i := range min(readmitted, w.Machines) {
		said := time.Now()
		var n lk1.Node
		if err := b.call(ctx, "POST", "/v1/node/readmit", url.Values{"who": {hall.f.tpms[i].NodeID().String()}}, nil, &n); err != nil {
			return err
		}
		for hall.heard[i].Load() == 0 {
			if time.Since(said) > kms.MaxWait {
				return errors.New("a machine did not hear that it was let go")
			}
			time.Sleep(time.Millisecond)
		}
		heard = append(heard, time.Unix(0, hall.heard[i].Load()).Sub(said))
	}
	slices.Sort(heard)
	fmt.Fprintf(out, "from the operator's word until the machine has its key: median %v, longest %v\n", heard[len(heard)/2].Round(100*time.Microsecond), heard[len(heard)-1].Round(100*time.Microsecond))
	return nil
}

// stopped makes a machine known and stops it.
func (f *lk1Fleet) stopped(ctx context.Context, i int) error {
	if err := f.enroll(ctx, i); err != nil {
		return err
	}
	var n lk1.Node
	return f.b.call(ctx, "POST", "/v1/node/quarantine", url.Values{"who": {f.tpms[i].NodeID().String()}}, nil, &n)
}

// A hall is machines that wait, as the init does.
type hall struct {
	f     *lk1Fleet
	asked atomic.Int64
	heard []atomic.Int64 // when each had its key, in nanoseconds since 1970
	since []atomic.Int64 // since when each waits on its connection, likewise; 0: it does not
}

// calm tells whether all have waited for a while: when all come at once, some
// find no place at first.
func (h *hall) calm() bool {
	for i := range h.since {
		if at := h.since[i].Load(); at == 0 || time.Since(time.Unix(0, at)) < 3*time.Second {
			return false
		}
	}
	return true
}

func (h *hall) wait(ctx context.Context, i int) {
	for called := false; ctx.Err() == nil; {
		h.asked.Add(1)
		err := h.f.get(ctx, i)
		if err == nil {
			h.heard[i].Store(time.Now().UnixNano())
			return
		}
		refused, ok := errors.AsType[*kms.Error](err)
		if ok && !called && len(refused.Cookie) > 0 {
			h.since[i].Store(time.Now().UnixNano())
			called = h.f.client(i).Wait(ctx, h.f.b.url, refused.Cookie) == nil
			h.since[i].Store(0)
		} else {
			called = false
		}
		if !called {
			select {
			case <-ctx.Done():
			case <-time.After(15*time.Second + rand.N(15*time.Second)):
			}
		}
	}
}
