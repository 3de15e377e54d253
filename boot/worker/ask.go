package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/source"
)

// maxCallers is how many candidates are asked at once: forged ones may
// hang, and must not hold up the true one. discover offers no more.
const maxCallers = 64

// A keyServer is the source kms. It asks every candidate as it is found,
// until one that holds a pinned key grants what the boot waits for, for as
// long as the plan says.
type keyServer struct {
	worker   *worker
	network  *network
	identity *identity
	grant    *grant // that was tried; nil if there was none
}

// Run implements source.Source.
func (k *keyServer) Run(ctx context.Context, to source.Opener) error {
	w := k.worker
	if k.network.err != nil {
		return k.network.err
	}
	id, err := k.identity.get(ctx)
	if err != nil {
		return err
	}
	w.prepareUnseal(ctx, id, to.Closed())
	a := &asking{worker: w, network: k.network, id: id, to: to, volumes: to.Closed(), free: make(chan struct{}, 1), won: make(chan *grant, 1), lost: make(chan error, 1)}
	a.free <- struct{}{}
	if err := a.want(); err != nil {
		return err
	}

	g, err := step(ctx, w, "kms", w.plan.AskTime(), func(ctx context.Context) (*grant, string, error) {
		g, err := a.run(ctx)
		if err != nil {
			return nil, "", err
		}
		return g, g.from.String(), nil
	})
	if err != nil {
		return err
	}
	return k.try(ctx, to, g)
}

// An asking is one search for a KMS that grants.
type asking struct {
	worker  *worker
	network *network
	id      Identity
	to      source.Opener
	volumes []*unlock.Volume // what each of wants is for
	wants   []kms.Want
	pins    []kms.Pin

	free     chan struct{} // the TPM's turns
	show     sync.Once     // reads the EK's certificate, when a KMS does not know us
	doubt    sync.Once     // looks whether kept keys are this TPM's own, likewise
	unknown  atomic.Bool
	answered func() // is called when a key server that is trusted has answered
	stop     context.CancelFunc
	won      chan *grant
	lost     chan error

	mu   sync.Mutex
	last error // why the last candidate did not grant
}

// want says what is asked for, and which keys are trusted.
func (a *asking) want() error {
	for _, v := range a.volumes {
		want, err := v.Wanted()
		if err != nil {
			return err
		}
		a.wants = append(a.wants, want)
	}

	for _, k := range a.worker.plan.Trust.KMS {
		pin, err := kms.ParsePin(string(k))
		if err != nil {
			return codes.Fail(codes.PlanInvalid, "%w", err)
		}
		a.pins = append(a.pins, pin)
	}
	return nil
}

// silentFor is after what time without a grant people are told where the
// search stands; each line is shown once while it stays the same.
const silentFor = 10 * time.Second

func (a *asking) run(ctx context.Context) (*grant, error) {
	outer := ctx
	ctx, a.stop = context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer a.stop()
	candidates := make(chan discover.Candidate)
	callers.Go(func() { a.offer(ctx, candidates) })
	places := make(chan struct{}, maxCallers)
	tell := time.NewTicker(silentFor)
	defer tell.Stop()
	a.answered = a.network.asks()
	defer a.answered()
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
		case <-tell.C:
			a.worker.waiting(a.standing())
		case <-outer.Done():
			if errors.Is(outer.Err(), context.Canceled) {
				return nil, outer.Err()
			}
			return nil, codes.Fail("kms-timeout", "no key server granted in %s: %w", a.worker.plan.AskTime(), a.standing())
		}
	}
}

// standing is where the search stands, for people.
func (a *asking) standing() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil {
		return a.last
	}
	return codes.Fail(kms.CodeUnreachable, "%s", a.network.standing("key server"))
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
	next := pace{pause: time.Second}
	for ctx.Err() == nil {
		link, ok := a.network.way(c)
		if !ok {
			return
		}

		server := a.worker.sys.Server(a.pins, link)
		g, cookie, err := a.once(ctx, server, url)
		if err == nil {
			select {
			case a.won <- &grant{Grant: g, id: a.id, server: server, url: url, from: c, asked: a.volumes}:
			default: // another was faster
				g.Wipe()
			}
			return
		}
		if ctx.Err() != nil || !a.again(ctx, c, err) || next.wait(ctx, server, url, cookie) != nil {
			return
		}
	}
}

// once makes one attempt. After a grant the others are stopped before the
// TPM is free for them. The cookie of a refusal is for Server.Wait.
func (a *asking) once(ctx context.Context, server Server, url string) (g *kms.Grant, cookie []byte, err error) {
	t := &turn{Identity: a.id, free: a.free}
	defer t.end()
	a.worker.faults.At("ask")
	if a.unknown.Load() {
		a.show.Do(func() { a.id.Certify(ctx) })
	}

	g, err = server.Get(ctx, url, t, a.wants)
	if err != nil {
		if refused, ok := errors.AsType[*kms.Error](err); ok {
			cookie = refused.Cookie
		}
		return nil, cookie, err
	}
	if g.Untold != nil {
		a.worker.log.Warn("the key server was not shown what was booted, which it asked for", "err", g.Untold)
	}
	if err := a.granted(g); err != nil {
		cookie = g.WaitCookie()
		g.Wipe()
		return nil, cookie, err
	}
	a.stop()
	return g, nil, nil
}

// granted makes the refusal of a volume that the boot waits for the
// refusal of all. One with nofail stays closed, and one that is open by
// now is not needed.
func (a *asking) granted(g *kms.Grant) error {
	for i, v := range g.Volumes {
		if v.Active.Kind == kms.Pushed && !a.worker.takesPush(a.volumes[i]) {
			return codes.Fail("push-unlisted", "volume %s: a passphrase was pushed, and the plan does not list the source %s", v.UUID, plan.SourcePush)
		}
		if v.Status != kms.OK && a.to.Needed(a.volumes[i]) {
			return refusal(v)
		}
	}
	return nil
}

// again decides what follows an answer that is no grant, and tells whether
// the same candidate is worth asking again.
func (a *asking) again(ctx context.Context, c discover.Candidate, err error) bool {
	code := codes.Of(err)
	if answers(code) {
		a.answered()
	}
	a.mu.Lock()
	a.last = fmt.Errorf("%s: %w", c, err)
	a.mu.Unlock()
	switch codes.Means(code).Class {
	case codes.Final:
		select {
		case a.lost <- err:
		default:
		}
		return false
	case codes.Retry:
		d := a.network.setAside(c, code)
		a.worker.log.Warn("set aside", "candidate", c.String(), "code", code, "for", d, "err", err)
		return false
	}

	if code == kms.Pending.Code() {
		a.unknown.Store(true)
		a.doubt.Do(func() {
			if err := a.id.Doubt(ctx); err != nil {
				a.worker.log.Warn("the TPM's keys are made", "err", err)
			}
		})
	}
	err = codes.Fail(code, "this machine is %q; %w", a.id.NodeID().Words(), err)
	a.mu.Lock()
	a.last = err
	a.mu.Unlock()
	a.worker.waiting(err)
	a.id.Rest() // an operator may take days
	return true
}
