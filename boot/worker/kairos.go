package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/google/go-tpm/tpm2"

	"latchkey/discover"
	"latchkey/internal/endpoint"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/source"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/tpm"
)

// Kairos is the source of what a server of Kairos' protocol has, or the TPM
// by itself.
func Kairos(w *worker, n *network) source.Source {
	k := w.plan.Kairos
	s := &kairos.Source{
		Legacy: k.Legacy, Wait: w.plan.KairosTime(), Label: w.kairosLabel, Tell: w.waiting,
		TPM: func(ctx context.Context) (kairos.TPM, error) {
			t, err := w.allowedTPM(ctx)
			if err != nil {
				return nil, err
			}
			return t.Kairos(ctx, handleOr(k.KeyIndex, tpm.KairosKey))
		},
		Kept: func(ctx context.Context) (secret.Bytes, error) {
			t, err := w.allowedTPM(ctx)
			if err != nil {
				return secret.Bytes{}, err
			}
			return t.KeptByKairos(ctx, handleOr(k.NVIndex, tpm.KairosNV), handleOr(k.KeyIndex, tpm.KairosKey))
		},
	}
	if k.Server != "" {
		s.Begin = func(ctx context.Context) (kairos.Server, func(), error) { return w.challenger(ctx, n) }
	}
	return s
}

func handleOr(h uint32, otherwise tpm2.TPMHandle) tpm2.TPMHandle {
	if h == 0 {
		return otherwise
	}
	return tpm2.TPMHandle(h)
}

// allowedTPM waits for the word that the TPM may be used.
func (w *worker) allowedTPM(ctx context.Context) (TPM, error) {
	if err := w.mayUseTPM(ctx); err != nil {
		return nil, err
	}
	return w.tpm()
}

// kairosLabel is what the plan calls a volume, or its header: nothing is
// believed because of it.
func (w *worker) kairosLabel(v *unlock.Volume) string {
	for _, planned := range w.plan.Volumes {
		if planned.Name == v.Name && planned.Label != "" {
			return planned.Label
		}
	}
	return v.Header.Label()
}

// challengerService is what servers of Kairos' protocol announce.
const challengerService = "_kcrypt._tcp"

// askAgain is how long an address that was tried is left alone.
const askAgain = time.Second

// connectPatience bounds one attempt to find and reach the server.
const connectPatience = 10 * time.Second

// A challenger is the way to the server.
type challenger struct {
	worker  *worker
	network *network
	finder  *discover.Finder
	url     endpoint.Challenger
	// answered says that a server was reached, so that the network is as it
	// must be.
	answered func()
}

// challenger begins to look for the server, until end is called.
func (w *worker) challenger(ctx context.Context, n *network) (s kairos.Server, end func(), err error) {
	u, err := endpoint.ParseChallenger(w.plan.Kairos.Server)
	if err != nil {
		return kairos.Server{}, nil, err
	}
	q := discover.Query{URLs: []string{"http://" + u.Address()}, What: "server of Kairos' protocol"}
	if w.plan.Kairos.MDNS {
		q.URLs, q.Services, q.Host = nil, []string{challengerService}, u.Name
	}
	finder, err := discover.NewFinder(q, w.sys.Sockets(), w.log)
	if err != nil {
		return kairos.Server{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go n.lookUp(ctx, finder)
	answered := n.asks()
	c := &challenger{w, n, finder, u, answered}
	return kairos.Server{URL: u, Connect: c.connect}, func() { answered(); cancel() }, nil
}

// connect tries the addresses that were found.
func (c *challenger) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	var failed error
	for {
		found, err := c.finder.Next(ctx)
		if err != nil {
			if failed == nil {
				failed = errors.New(c.network.standing("address"))
			}
			return nil, failed
		}
		c.finder.SetAside(found, askAgain) // and then it is offered again
		conn, err := c.dial(ctx, found)
		if err == nil {
			c.answered()
			return conn, nil
		}
		if failed == nil || !over(ctx) { // then it was cut short, which tells nothing
			failed = fmt.Errorf("%s: %w", found.Addr, err)
		}
	}
}

func (c *challenger) dial(ctx context.Context, found discover.Candidate) (net.Conn, error) {
	link, ok := c.network.reach(found)
	if !ok {
		return nil, errors.New("no link leads there yet")
	}
	conn, err := c.worker.sys.Dial(link)(ctx, "tcp", found.Addr.String())
	if err != nil || !c.url.TLS {
		return conn, err
	}
	return c.worker.secure(ctx, conn, plan.TLSServer{Host: c.url.Name, Protocol: "http/1.1", Trust: c.worker.plan.Kairos.TLS})
}
