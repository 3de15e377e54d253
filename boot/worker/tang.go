package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/kms"
	"latchkey/unlock/source/clevis"
)

// clevis is the source of clevis' tokens.
func (w *worker) clevis(n *network) *clevis.Clevis {
	return &clevis.Clevis{Allowed: w.plan.Clevis.Tang, Wait: w.plan.TangTime(), Asker: &tangServers{w, n}}
}

// tangServers asks tang servers over the network.
type tangServers struct {
	worker  *worker
	network *network
}

// tangAgain is how long an address that did not answer is left alone.
const tangAgain = time.Second

// Ask implements clevis.Asker.
func (s *tangServers) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	finder, err := discover.NewFinder(discover.Query{URLs: []string{url}, What: "tang server"}, s.worker.sys.Sockets(), s.worker.log)
	if err != nil {
		return err
	}
	defer s.network.asks()()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.network.lookUp(ctx, finder)

	candidates := make(chan discover.Candidate)
	go offerAll(ctx, finder, candidates)
	type answer struct {
		from  discover.Candidate
		reply []byte
		err   error
	}
	answers := make(chan answer)
	var last error
	tell := time.NewTicker(silentFor)
	defer tell.Stop()
	for {
		select {
		case c := <-candidates:
			go func() {
				reply, err := s.once(ctx, c, path, body)
				select {
				case answers <- answer{c, reply, err}:
				case <-ctx.Done():
				}
			}()
		case a := <-answers:
			if a.err == nil {
				a.err = take(a.reply)
			}
			if a.err == nil {
				return nil
			}
			last = fmt.Errorf("%s: %w", a.from.Addr, a.err)
			finder.SetAside(a.from, tangAgain)
		case <-tell.C:
			s.worker.waiting(codes.Fail(clevis.CodeSilent, "tang server %s: %w", url, s.standing(last)))
		case <-ctx.Done():
			return s.standing(last)
		}
	}
}

// standing is where the search for a server stands.
func (s *tangServers) standing(last error) error {
	if last == nil {
		return errors.New(s.network.standing("address"))
	}
	return last
}

// offerAll passes on what a finder finds.
func offerAll(ctx context.Context, f *discover.Finder, to chan<- discover.Candidate) {
	for {
		c, err := f.Next(ctx)
		if err != nil {
			return
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return
		}
	}
}

// tangPatience bounds one exchange.
const tangPatience = 10 * time.Second

func (s *tangServers) once(ctx context.Context, c discover.Candidate, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tangPatience)
	defer cancel()
	link, ok := s.network.reach(c)
	if !ok {
		return nil, errors.New("no link leads there yet")
	}
	to := kms.Endpoint{Host: c.Addr.Addr().String(), Port: c.Addr.Port()}
	reply, err := kms.Post(ctx, s.worker.sys.Dial(link), to, path, "application/jwk+json", body)
	if e, ok := errors.AsType[*kms.Error](err); ok {
		err = e.Err // the line has the URL already
	}
	if status, ok := errors.AsType[kms.HTTPStatus](err); ok && status == 404 {
		return nil, fmt.Errorf("%w (%w)", clevis.ErrNoKey, status) // tang/src/tangd.c, rec(): no such file
	}
	return reply, err
}

// lookUp has a finder look on the links as they come and go, until ctx ends.
func (n *network) lookUp(ctx context.Context, f *discover.Finder) {
	n.mu.Lock()
	n.finders[f] = true
	f.Update(n.seen)
	n.mu.Unlock()
	f.Run(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.finders, f)
}

// reach is the link to ask a candidate over.
func (n *network) reach(c discover.Candidate) (link string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ways.choose(c, false)
}
