package worker

import (
	"context"
	"sync"
	"time"

	"latchkey/boot/device"
	"latchkey/boot/wire"
)

// The ciphers' modules wait so long for the drivers of the devices that are
// there, and then for the disks to be found.
const (
	driverWait = time.Second
	cipherWait = 100 * time.Millisecond
)

// loadModules loads what the devices that are there ask for. It goes on with
// the devices that come later, until ctx ends, and tells the search for
// disks when to look again.
func (w *worker) loadModules(ctx context.Context, events <-chan device.Event) {
	w.loader.Hold(w.plan.AsksAtConsole())
	go w.follow(events)
	go w.wantCiphers(ctx)
	defer close(w.drivers)
	step(ctx, w, "modules", time.Minute, func(context.Context) (struct{}, string, error) {
		var wg sync.WaitGroup
		for _, alias := range w.sys.Modaliases() {
			wg.Go(func() { w.loader.Device(alias) })
		}
		wg.Wait()
		return struct{}{}, "", nil
	})
}

// driversLoaded tells whether what the devices asked for at the start is
// loaded.
func (w *worker) driversLoaded() bool {
	select {
	case <-w.drivers:
		return true
	default:
		return false
	}
}

// wantCiphers asks PID 1 for dm-crypt and the ciphers. They test
// themselves when they are loaded, and nobody needs them before the KMS has
// answered; disks and links come first. A driver that waits a minute for
// its firmware holds up nobody's volume.
func (w *worker) wantCiphers(ctx context.Context) {
	for _, first := range []struct {
		there <-chan struct{}
		wait  time.Duration
	}{{w.drivers, driverWait}, {w.found, cipherWait}} {
		select {
		case <-w.found:
		case <-first.there:
		case <-time.After(first.wait):
		case <-ctx.Done():
			return
		}
	}
	w.conn.Send(wire.Record{Kind: wire.KindWantCiphers}) // without PID 1 the boot is over: listen sees it
}

// loadSlow has the slow drivers loaded as soon as it seems that they are
// needed: the disks or the network are not there after a moment, or the
// network that is there leads to no KMS. A plan that prompts may need a
// keyboard, which is on USB.
func (w *worker) loadSlow(ctx context.Context, linked <-chan struct{}) {
	const moment, patience = 150 * time.Millisecond, 3 * time.Second
	soon := time.NewTimer(moment)
	defer soon.Stop()
	for _, there := range []<-chan struct{}{w.found, linked} {
		select {
		case <-there:
			continue
		case <-soon.C:
		case <-ctx.Done():
			return
		}
		w.loader.Release()
		return
	}

	select {
	case <-time.After(patience):
		w.loader.Release()
	case <-ctx.Done():
	}
}

func (w *worker) follow(events <-chan device.Event) {
	for e := range events {
		if e.Action == "add" && e.Modalias != "" {
			go w.loader.Device(e.Modalias)
		}
		if e.Action == "lost" {
			for _, alias := range w.sys.Modaliases() {
				go w.loader.Device(alias)
			}
		}
		if e.Subsystem == "block" || e.Action == "lost" {
			w.look()
		}
	}
}

// look tells the search for disks to look again.
func (w *worker) look() {
	select {
	case w.blocks <- struct{}{}:
	default: // a look is due already
	}
}
