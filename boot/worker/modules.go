package worker

import (
	"context"
	"sync"
	"time"

	"latchkey/boot/device"
	"latchkey/boot/module"
	"latchkey/boot/wire"
)

func (w *worker) readModules() error {
	index, err := module.ReadIndex()
	if err != nil {
		return err
	}
	w.loader = module.New(index, w.plan.Modules.Blocked, module.Insert, w.log)
	return nil
}

// loadModules loads what every boot needs and what the devices that are
// there ask for. It goes on with the devices that come later, until ctx
// ends, and tells the search for disks when to look again.
func (w *worker) loadModules(ctx context.Context, events <-chan device.Event) error {
	w.loader.Hold()
	go w.follow(events)
	_, err := step(ctx, w, "modules", time.Minute, func(ctx context.Context) (struct{}, string, error) {
		var wg sync.WaitGroup
		wg.Go(func() { w.loader.Named(w.plan.Net.Modules()...) })
		for _, alias := range device.Modaliases("/sys") {
			wg.Go(func() { w.loader.Device(alias) })
		}
		wg.Wait()

		// The ciphers test themselves when they are loaded. Nobody needs them
		// before the KMS has answered; disks and links come first.
		select {
		case <-w.found:
		case <-time.After(cipherWait):
		case <-ctx.Done():
		}

		if err := w.conn.Send(wire.Record{Kind: wire.KindWantCiphers}); err != nil {
			return struct{}{}, "", err
		}
		select {
		case <-w.ciphers:
		case <-ctx.Done():
			return struct{}{}, "", ctx.Err()
		}

		return struct{}{}, "", nil
	})

	return err
}

// cipherWait is how long the ciphers' modules wait for the disks to be
// found.
const cipherWait = 100 * time.Millisecond

// loadSlow has the slow drivers loaded as soon as it seems that they are
// needed: the disks or the network are not there after a moment, or the
// network that is there leads to no KMS.
func (w *worker) loadSlow(ctx context.Context, n *network) {
	const moment, patience = 150 * time.Millisecond, 3 * time.Second
	soon := time.NewTimer(moment)
	defer soon.Stop()
	for _, there := range []<-chan struct{}{w.found, n.linked} {
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
			for _, alias := range device.Modaliases("/sys") {
				go w.loader.Device(alias)
			}
		}
		if e.Subsystem == "block" || e.Action == "lost" {
			select {
			case w.blocks <- struct{}{}:
			default: // a look is due already
			}
		}
	}
}
