package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/discover"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// maxCallers is how many candidates are asked at once: forged ones may
// hang, and must not hold up the true one. discover offers no more.
const maxCallers = 64

// ask asks every candidate as it is found, until one that holds a pinned
// key grants the volumes. It goes on for as long as the plan says.
func (w *worker) ask(ctx context.Context, n *network, id *tpm.Identity, disks []*disk) (*grant, error) {
	if id == nil {
		return nil, codes.Fail("plan-invalid", "no volume has a source that works without a TPM")
	}
	wants := make([]kms.Want, len(disks))
	for i, d := range disks {
		var err error
		if wants[i], err = d.Wanted(); err != nil {
			return nil, err
		}
	}

	a := &asking{worker: w, network: n, id: id, free: make(chan struct{}, 1), wants: wants, won: make(chan *grant, 1), lost: make(chan error, 1)}
	a.free <- struct{}{}
	for _, k := range w.plan.Trust.KMS {
		pin, err := kms.ParsePin(string(k))
		if err != nil {
			return nil, codes.Fail("plan-invalid", "%w", err)
		}
		a.pins = append(a.pins, pin)
	}

	return step(ctx, w, "kms", w.plan.Find.Timeout, func(ctx context.Context) (*grant, string, error) {
		g, err := a.run(ctx)
		if err != nil {
			return nil, "", err
		}
		return g, g.from.String(), nil
	})
}

// An asking is one search for a KMS that grants.
type asking struct {
	*worker
	network *network
	id      *tpm.Identity
	free    chan struct{} // the TPM's turns
	show    sync.Once     // reads the EK's certificate, when a KMS does not know us
	unknown atomic.Bool
	stop    context.CancelFunc
	wants   []kms.Want
	pins    []kms.Pin
	won     chan *grant
	lost    chan error
}

func (a *asking) run(ctx context.Context) (*grant, error) {
	outer := ctx
	ctx, a.stop = context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer a.stop()
	candidates := make(chan discover.Candidate)
	callers.Go(func() { a.offer(ctx, candidates) })
	places := make(chan struct{}, maxCallers)
	for {
		select {
		case c := <-candidates:
			callers.Go(func() {
				select {
				case places <- struct{}{}:
					a.call(ctx, c)
					<-places
				case <-ctx.Done():
				}
			})

		case g := <-a.won:
			return g, nil
		case err := <-a.lost:
			return nil, err
		case <-outer.Done():
			if errors.Is(outer.Err(), context.Canceled) {
				return nil, outer.Err()
			}
			return nil, codes.Fail("kms-timeout", "no key server granted in %s", a.plan.Find.Timeout)
		}
	}
}

// offer passes on what discovery finds.
func (a *asking) offer(ctx context.Context, to chan<- discover.Candidate) {
	for {
		c, err := a.network.finder.Next(ctx)
		if err != nil {
			return // the search is over
		}
		a.network.foundOnce(c)
		a.network.retaken(c)
		select {
		case to <- c:
		case <-ctx.Done():
			return
		}
	}
}

// call asks one candidate. Only one that has proved to be a KMS of ours is
// asked again from here; others wait aside, so that they hold no place.
func (a *asking) call(ctx context.Context, c discover.Candidate) {
	url := kms.Endpoint{Host: c.Addr.Addr().String(), Port: c.Addr.Port()}.String()
	pause := time.Second
	for ctx.Err() == nil {
		link, ok := a.network.way(c)
		if !ok {
			return
		}

		client := &kms.Client{Pins: a.pins, Dial: dialer(link)}
		g, err := a.once(ctx, client, url)
		if err == nil {
			select {
			case a.won <- &grant{Grant: g, client: client, url: url, from: c}:
			default: // another was faster
				g.Wipe()
			}
			return
		}
		if ctx.Err() != nil || !a.again(ctx, c, err, &pause) {
			return
		}
	}
}

// once makes one attempt. After a grant the others are stopped before the
// TPM is free for them.
func (a *asking) once(ctx context.Context, client *kms.Client, url string) (*kms.Grant, error) {
	t := &turn{Identity: a.id, free: a.free}
	defer t.end()
	a.faults.At("ask")
	if a.unknown.Load() {
		a.show.Do(func() { a.id.Certify(ctx) })
	}

	g, err := client.Get(ctx, url, t, a.wants)
	if err != nil {
		return nil, err
	}

	if err := granted(g); err != nil {
		return nil, err
	}
	a.stop()
	return g, nil
}

// again decides what follows an answer that is no grant, and waits if
// the same candidate is worth asking again.
func (a *asking) again(ctx context.Context, c discover.Candidate, err error, pause *time.Duration) bool {
	code := codes.Of(err)
	switch codes.Means(code).Class {
	case codes.Final:
		select {
		case a.lost <- err:
		default:
		}
		return false
	case codes.Retry:
		d := a.network.setAside(c, code)
		a.log.Warn("set aside", "candidate", c.String(), "code", code, "for", d, "err", err)
		return false
	}

	if code == kms.Pending.Code() {
		a.unknown.Store(true)
	}
	text := fmt.Sprintf("this machine is %q; %s", a.id.NodeID().Words(), err)
	a.conn.Send(wire.Record{Kind: wire.KindWaiting, Code: code, Text: text})
	timer := time.NewTimer(*pause/2 + rand.N(*pause/2))
	defer timer.Stop()
	*pause = min(2**pause, 30*time.Second)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A turn is one attempt's use of the TPM: one candidate at a time, from
// the credential to the answer, and only after it has shown a pinned key
// (the client asks for Activate no earlier).
type turn struct {
	*tpm.Identity
	free chan struct{} // holds one value while the TPM is free
	held bool
}

// Activate waits for its turn. A challenge that had to wait for long has
// expired at the KMS, so it is not worth the TPM's time.
func (t *turn) Activate(ctx context.Context, blob, seed []byte) (secret.Bytes, error) {
	stale := time.NewTimer(5 * time.Second)
	defer stale.Stop()
	select {
	case <-t.free:
		t.held = true
	case <-ctx.Done():
		return secret.Bytes{}, ctx.Err()
	case <-stale.C:
		return secret.Bytes{}, codes.Fail(kms.CodeNoGrant, "the TPM was busy with another key server")
	}
	if err := ctx.Err(); err != nil {
		return secret.Bytes{}, err
	}
	return t.Identity.Activate(ctx, blob, seed)
}

func (t *turn) end() {
	if t.held {
		t.free <- struct{}{}
	}
}

// dialer connects over a link, or as the routes say.
func dialer(link string) func(context.Context, string, string) (net.Conn, error) {
	var d net.Dialer
	if link != "" {
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), link) }), err)
		}
	}
	return d.DialContext
}
