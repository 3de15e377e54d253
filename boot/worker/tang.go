package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/discover"
	"latchkey/internal/endpoint"
	"latchkey/kms"
	"latchkey/unlock/source/clevis"
)

// clevis is the source of clevis' tokens.
func (w *worker) clevis(n *network) *clevis.Clevis {
	return &clevis.Clevis{Allowed: w.plan.Clevis.Tang, Wait: w.plan.Clevis.Wait, Asker: &tangServers{w, n}}
}

// tangServers asks tang servers over the network.
type tangServers struct {
	worker  *worker
	network *network
}

// tangURL splits the URL of a tang server: where it is asked, and what comes
// before the paths of the protocol. Clevis writes it as people gave it.
func tangURL(url string) (host, prefix string, err error) {
	rest, ok := strings.CutPrefix(url, "http://")
	if !ok {
		rest, ok = url, !strings.Contains(url, "://") // curl takes it for HTTP
	}
	if !ok {
		return "", "", fmt.Errorf("%.80q: want http:// (what tang says needs no TLS)", url)
	}
	rest, prefix, _ = strings.Cut(rest, "/")
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
	}
	if strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", fmt.Errorf("%.80q: its path has odd letters", url)
	}
	if !strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":") {
		rest += ":80"
	}
	_, err = endpoint.ParseURL("http://" + rest)
	return "http://" + rest, prefix, err
}

// tangAgain is how long an address that did not answer is left alone.
const tangAgain = time.Second

// Ask implements clevis.Asker.
func (s *tangServers) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	host, prefix, err := tangURL(url)
	if err != nil {
		return err
	}
	finder, err := discover.NewFinder(discover.Query{URLs: []string{host}}, s.worker.sys.Sockets(), s.worker.log)
	if err != nil {
		return err
	}
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
	last := errors.New("no address was found for it")
	tell := time.NewTicker(silentFor)
	defer tell.Stop()
	for {
		select {
		case c := <-candidates:
			go func() {
				reply, err := s.once(ctx, c, prefix+path, body)
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
			s.worker.waiting(fmt.Errorf("tang server %s: %w", url, last))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", last, ctx.Err())
		}
	}
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
	return kms.Post(ctx, s.worker.sys.Dial(link), to, path, "application/jwk+json", body)
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
