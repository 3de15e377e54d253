package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/module"
	"latchkey/boot/wire"
	"latchkey/internal/kmsg"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/tpm"
)

// A worker reads everything that an outsider can write: the network, the
// disks' headers, the TPM's replies. It may die at any point; PID 1 then
// clears up and starts another.
type worker struct {
	conn    *wire.Conn
	plan    *plan.Plan
	log     *slog.Logger
	faults  wire.Faults
	loader  *module.Loader
	entered chan wire.Record // PID 1's word that the TPM may be used
	ciphers chan struct{}    // closed when PID 1 has loaded what every boot needs
	blocks  chan struct{}    // a block device came, changed or went
	found   chan struct{}    // closed when all disks are
}

// Run is the worker's role. When it returns nil, every volume of the
// plan is open and PID 1 knows.
func Run(conn *wire.Conn, incarnation int) error {
	p, cmdline, err := wire.ReadPlan()
	if err != nil {
		return conn.Fail(err)
	}

	w := &worker{
		conn: conn, plan: p, log: logger(), faults: wire.ReadFaults(p, "worker", incarnation, cmdline),
		entered: make(chan wire.Record, 1), blocks: make(chan struct{}, 1), found: make(chan struct{}), ciphers: make(chan struct{}),
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
	events, err := device.Events(ctx) // before the first look: nothing is missed
	if err != nil {
		return err
	}

	if err := w.readModules(); err != nil {
		return err
	}
	modules := begin(func() (struct{}, error) { return struct{}{}, w.loadModules(ctx, events) })
	network, err := w.startNetwork(ctx)
	if err != nil {
		return err
	}

	identity := begin(func() (*tpm.Identity, error) { return w.identify(ctx) })
	go func() { modules(); w.loadSlow(ctx, network) }()
	disks, err := step(ctx, w, "disks", w.deadline(), func(ctx context.Context) ([]*disk, string, error) {
		d, err := findDisks(ctx, w.plan, w.blocks, w.waiting)
		return d, fmt.Sprintf("found=%d", len(d)), err
	})
	if err != nil {
		return err
	}

	close(w.found)
	id, err := identity()
	if err != nil {
		if !w.plan.Prompts() {
			return err
		}
		w.waiting(err) // a person may still help
	}

	w.prepareUnseal(ctx, id, disks)
	grant, err := w.keys(ctx, network, id, disks)
	if err != nil {
		return err
	}
	defer grant.wipe()
	if _, err := modules(); err != nil {
		return err
	}

	if err := w.lookAgain(); err != nil {
		return err
	}
	openings, err := w.openAll(ctx, disks, grant, id)
	if err != nil {
		return err
	}

	w.rotate(ctx, disks, grant, id, openings)
	closed := begin(func() (struct{}, error) {
		if id != nil {
			id.Close()
		}
		return struct{}{}, nil
	})

	reported := begin(func() (struct{}, error) { w.report(ctx, grant, openings); return struct{}{}, nil })
	if err := w.chooseRoot(ctx, disks); err != nil {
		return err
	}

	closed() // the real root finds the TPM empty
	if err := w.conn.Send(wire.Record{Kind: wire.KindDone}); err != nil {
		return err
	}

	reported() // PID 1 goes on with the latch and the root meanwhile
	network.leave()
	return nil
}

// deadline is the plan's wait for devices, with time to report it.
func (w *worker) deadline() time.Duration {
	if w.plan.Wait == 0 {
		return 0
	}
	return w.plan.Wait + 10*time.Second
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

// openOwnTPM opens the TPM without the kernel's resource manager, which
// would load and save every object around every command; on a slow chip
// that costs more than the commands. Nobody else holds objects now: the
// latch has none. If somebody is there, the resource manager shares.
func openOwnTPM() (*tpm.TPM, error) {
	if t, err := tpm.Open("/dev/tpm0"); err == nil {
		return t, nil
	}
	return tpm.Open(tpm.DefaultPath)
}

func (w *worker) identify(ctx context.Context) (*tpm.Identity, error) {
	if !w.plan.NeedsKMS() {
		return nil, nil
	}
	select {
	case r := <-w.entered:
		if r.Code != "" {
			return nil, codes.Fail(r.Code, "there is no TPM")
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	id, err := step(ctx, w, "tpm", 2*time.Minute, func(ctx context.Context) (*tpm.Identity, string, error) {
		t, err := openOwnTPM()
		if err != nil {
			return nil, "", err
		}
		ek := map[string]tpm.EK{"": tpm.EKAuto, "p256": tpm.EKP256, "rsa2048": tpm.EKRSA2048}[w.plan.TPM.EK]
		id, err := t.Identify(ctx, tpm.Options{EK: ek})
		return id, fmt.Sprintf("commands=%d", t.Commands()), err
	})
	if err == nil {
		go func() {
			if err := id.Prepare(ctx); err != nil {
				w.log.Warn("the TPM is not ready for an answer yet", "err", err)
			}
		}()
	}

	return id, err
}

// prepareUnseal has the TPM load what a sealed secret needs while the KMS is
// being asked, if a header says that its secret is one.
func (w *worker) prepareUnseal(ctx context.Context, id *tpm.Identity, disks []*disk) {
	if id == nil || !slices.ContainsFunc(disks, func(d *disk) bool { return unlock.Bound(d.Header) }) {
		return
	}
	go func() {
		if err := id.PrepareUnseal(ctx); err != nil {
			w.log.Warn("the TPM is not ready to unseal yet", "err", err)
		}
	}()
}

func logger() *slog.Logger {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return slog.New(kmsg.New(os.Stderr, slog.LevelInfo))
	}
	return slog.New(kmsg.New(f, slog.LevelInfo))
}
