// Package worker is the role that finds and opens the volumes. It reads
// everything that an outsider can write: the network, the disks' headers,
// the TPM's replies. It may die at any point; PID 1 then clears up and
// starts another.
package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
)

// A worker is one run of the role.
type worker struct {
	sys     System
	conn    *wire.Conn
	plan    *plan.Plan
	log     *slog.Logger
	faults  wire.Faults
	loader  Loader
	search  *search
	memory  *luks2.Memory
	entered chan wire.Record    // PID 1's word that the TPM may be used
	tpm     func() (TPM, error) // opens the TPM, once: without resource manager it has one user
	ciphers chan struct{}       // closed when PID 1 has loaded what every boot needs
	blocks  chan struct{}       // a block device came, changed or went
	found   chan struct{}       // closed when all disks are
	warned  sync.Map            // hosts whose certificates were warned of
	drivers chan struct{}       // closed when those of the devices that were there are loaded
}

// Run is the worker's role. When it returns nil, every volume that the
// boot cannot do without is open and PID 1 knows.
func Run(sys System, conn *wire.Conn, incarnation int) error {
	p, cmdline, err := sys.Plan()
	if err != nil {
		return conn.Fail(err)
	}

	w := &worker{
		sys: sys, conn: conn, plan: p, log: sys.Log(), faults: wire.ReadFaults(p, "worker", incarnation, cmdline),
		memory:  luks2.NewMemory(sys.FreeBytes()),
		entered: make(chan wire.Record, 1), tpm: sync.OnceValues(sys.OpenTPM), blocks: make(chan struct{}, 1), found: make(chan struct{}), ciphers: make(chan struct{}), drivers: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go w.listen(cancel)
	go w.alive(ctx)
	if err := w.run(ctx); err != nil {
		return conn.Fail(err)
	}

	return nil
}

// run is the story. What does not need another's result begins at once;
// each line after that needs the ones before it.
func (w *worker) run(ctx context.Context) error {
	events, err := w.sys.Events(ctx) // before the first look: nothing is missed
	if err != nil {
		return err
	}
	if w.loader, err = w.sys.Modules(w.plan.Modules.Blocked, w.log); err != nil {
		return err
	}

	go w.loadModules(ctx, events)
	network := w.startNetwork(ctx)
	identity := w.identify(ctx)
	go w.loadSlow(ctx, network.linked)
	disks, err := w.findAll(ctx)
	if err != nil {
		return err
	}

	opened, err := w.open(ctx, network, identity, disks)
	if err != nil {
		return err
	}
	defer opened.wipe()
	opened.renew(ctx)
	closed := begin(identity.close)
	reported := begin(func() { opened.report(ctx) })
	if _, others := w.sys.(Keyholder); !others {
		if err := w.chooseRoot(ctx, opened); err != nil {
			return err
		}
	}

	if err := w.conn.Send(wire.Record{Kind: wire.KindDone}); err != nil {
		return err
	}

	closed() // PID 1 goes on with the latch and the root meanwhile; the real one finds the TPM empty
	reported()
	network.leave()
	return nil
}

// waiting tells people why it takes time.
func (w *worker) waiting(err error) {
	w.conn.Send(wire.Record{Kind: wire.KindWaiting, Code: codes.Of(err), Text: err.Error()})
}

// listen takes PID 1's words; when the socket closes the boot is over.
func (w *worker) listen(cancel context.CancelFunc) {
	defer cancel()
	for {
		r, err := w.conn.Recv()
		if err != nil {
			return
		}
		switch r.Kind {
		case wire.KindEntered:
			select {
			case w.entered <- r:
			default:
			}
		case wire.KindCiphers:
			close(w.ciphers) // said once to each worker
		}
	}
}

// alive keeps PID 1's watchdog quiet while the worker waits for others.
// Every step has a deadline of its own.
func (w *worker) alive(ctx context.Context) {
	tick := time.NewTicker(wire.Silence / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.conn.Send(wire.Record{Kind: wire.KindAlive})
		case <-ctx.Done():
			return
		}
	}
}
