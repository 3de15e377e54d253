package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/source/talos"
)

// run has the links as the settings say until ctx ends: those of the plan,
// and while servers are asked in vain those of the image alone, in turn.
func (n *network) run(ctx context.Context) {
	w := n.worker
	for ctx.Err() == nil {
		settings, over := n.current()
		w.loader.Named(settings.Modules()...) // sockets fail without
		turn, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-over:
				cancel()
			case <-turn.Done():
			}
		}()
		if err := w.sys.Network(turn, settings, w.log, n.update); err != nil {
			w.log.Error("no network", "err", err)
		}

		select { // it may have failed at once
		case <-over:
		case <-ctx.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err := w.sys.Leave(plan.Net{}, nil, w.log); err != nil {
			w.log.Warn("the links are not as they were before the last settings", "err", err)
		}
	}
}

func (n *network) current() (plan.Net, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settings, n.turn
}

// asks notes that a server is asked, until it has answered or is asked no
// more. The turn of the settings begins with the first that is asked.
func (n *network) asks() (answered func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked++; n.asked == 1 && n.worker.plan.NetTurn() > 0 {
		n.tick.Reset(n.worker.plan.NetTurn())
	}
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.asked--; n.asked == 0 {
			n.tick.Stop()
		}
	})
}

// takeTurns gives other settings their turn, again and again, while a server
// is asked that has not answered, until ctx ends. It is for each server by
// itself: that one answers on the LAN tells nothing of the way to another.
func (n *network) takeTurns(ctx context.Context) {
	for {
		select {
		case <-n.tick.C:
			n.takeTurn()
		case <-ctx.Done():
			n.tick.Stop()
			return
		}
	}
}

// never is a ticker that waits for its Reset.
func never() *time.Ticker {
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// takeTurn ends the turn of the settings: what the command line says of
// the network may be wrong for this LAN, and must not fail a boot that the
// image alone would have made. It may be right, too, and the server be away:
// so its turn comes again.
func (n *network) takeTurn() {
	p := n.worker.plan
	n.mu.Lock()
	next, whose := *p.ImageNet, "the image"
	if n.onImage {
		next, whose = p.Net, "the command line"
	}
	n.onImage = !n.onImage
	n.settings = next
	clear(n.addrs)
	n.ways = ways{}
	close(n.turn)
	n.turn = make(chan struct{})
	n.mu.Unlock()
	code := kms.CodeUnreachable
	switch {
	case p.NeedsKMS():
	case p.NeedsTang():
		code = clevis.CodeSilent
	case p.NeedsTalosKMS():
		code = talos.CodeSilent
	default:
		code = kairos.CodeSilent
	}
	n.worker.waiting(codes.Fail(code, "no %s has answered for %s; trying the network as %s has it: %s", p.Servers(), p.NetTurn(), whose, fmt.Sprint(next)))
}

// answers tells whether a code shows that a key server with a pinned key
// was reached, so that the network is as it must be: what it decided, or
// that it did not take the TPM's proof, which is made for pinned keys only.
func answers(code string) bool {
	return code == kms.CodeNoGrant || codes.Means(code).Class == codes.Operator
}
