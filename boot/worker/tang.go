package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"latchkey/discover"
	"latchkey/internal/endpoint"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock/source/clevis"
)

// clevis is the source of clevis' tokens.
func (w *worker) clevis(n *network) *clevis.Clevis {
	return &clevis.Clevis{
		Allowed: w.plan.Clevis.Tang, Sealed: w.plan.Clevis.Sealed, TLS: w.plan.Clevis.TLS.Any(), Wait: w.plan.TangTime(), Asker: &tangServers{worker: w, network: n},
		TPM: func(ctx context.Context) (clevis.Unsealer, error) {
			if err := w.mayUseTPM(ctx); err != nil {
				return nil, err
			}
			return w.tpm()
		},
	}
}

// tangServers asks tang servers over the network.
type tangServers struct {
	worker  *worker
	network *network

	mu    sync.Mutex
	asked []*tangServer // that have not answered
	told  string        // the last that people were told
}

// A tangServer is one that is being asked.
type tangServer struct {
	url  string
	last error // why its last address gave nothing
}

// tangAgain is how long an address that did not answer is left alone.
const tangAgain = time.Second

// Ask implements clevis.Asker.
func (s *tangServers) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	rest, secure := strings.CutPrefix(url, "https:")
	plain := "http:" + strings.TrimPrefix(rest, "http:")
	finder, err := discover.NewFinder(discover.Query{URLs: []string{plain}, What: "tang server"}, s.worker.sys.Sockets(), s.worker.log)
	if err != nil {
		return err
	}
	defer s.network.asks()()
	server := s.begin(url)
	defer s.end(server)
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
	tell := time.NewTicker(silentFor)
	defer tell.Stop()
	for {
		select {
		case c := <-candidates:
			s.note(server, c, nil)
			go func() {
				reply, err := s.once(ctx, tangAt{c, plain, secure}, path, body)
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
			if over(ctx) { // then it was cut short, which tells nothing
				return s.standing(server)
			}
			s.note(server, a.from, a.err)
			finder.SetAside(a.from, tangAgain)
		case <-tell.C:
			if !over(ctx) {
				s.tell()
			}
		case <-ctx.Done():
			return s.standing(server)
		}
	}
}

// over tells whether ctx has ended. A connection has the same deadline and
// may be first to see it.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
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

// A tangAt is one address of a server.
type tangAt struct {
	discover.Candidate
	url    string // as of plain HTTP
	secure bool   // over TLS
}

func (s *tangServers) once(ctx context.Context, at tangAt, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tangPatience)
	defer cancel()
	link, ok := s.network.reach(at.Candidate)
	if !ok {
		return nil, errors.New("no link leads there yet")
	}
	to, err := endpoint.ParseURL(at.url)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := s.worker.sys.Dial(link)(ctx, network, at.Addr.String())
		if err != nil || !at.secure {
			return conn, err
		}
		return s.worker.secure(ctx, conn, plan.TLSServer{Host: to.Host, Protocol: "http/1.1", Trust: s.worker.plan.Clevis.TLS})
	}
	reply, err := kms.Post(ctx, dial, to, path, "application/jwk+json", body)
	if e, ok := errors.AsType[*kms.Error](err); ok {
		err = e.Err // the line has the URL already
	}
	if status, ok := errors.AsType[kms.HTTPStatus](err); ok && status == 404 {
		return nil, fmt.Errorf("%w (%w)", clevis.ErrNoKey, status) // tang/src/tangd.c, rec(): no such file
	}
	return reply, err
}

// secure makes TLS of a connection.
func (w *worker) secure(ctx context.Context, conn net.Conn, to plan.TLSServer) (net.Conn, error) {
	secure := w.sys.TLS()
	if secure == nil { // image build puts no such init beside such a plan
		return nil, errors.Join(errors.New("this init has no TLS: build the image again, with latchkey-init-tls"), conn.Close())
	}
	return secure(ctx, conn, to, func(text string) {
		if _, again := w.warned.LoadOrStore(to.Host, true); !again { // it may be asked every second
			w.log.Warn(text)
		}
	})
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
