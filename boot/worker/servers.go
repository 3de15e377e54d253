package worker

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"latchkey/discover"
	"latchkey/internal/endpoint"
	"latchkey/internal/plan"
)

// servers asks servers of a kind over the network, each at all its addresses.
type servers struct {
	worker  *worker
	network *network
	what    string // they are, for people
	// post asks one address.
	post func(ctx context.Context, at serverAt, path string, body []byte) ([]byte, error)
	// code says what an error means for people.
	code func(err error) string
	// again is how long an address is left alone after an error.
	again func(err error) time.Duration

	mu    sync.Mutex
	asked []*askedServer // that have not answered
	told  string         // the last that people were told
}

// An askedServer is one that is being asked.
type askedServer struct {
	url  string
	last error // why its last address gave nothing
}

// Ask implements clevis.Asker and talos.Asker.
func (s *servers) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	rest, secure := strings.CutPrefix(url, "https:")
	plain := "http:" + strings.TrimPrefix(rest, "http:")
	finder, err := discover.NewFinder(discover.Query{URLs: []string{plain}, What: s.what}, s.worker.sys.Sockets(), s.worker.log)
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
				reply, err := s.once(ctx, serverAt{c, plain, secure}, path, body)
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
			finder.SetAside(a.from, s.again(a.err))
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

// askPatience bounds one exchange.
const askPatience = 10 * time.Second

// A serverAt is one address of a server.
type serverAt struct {
	discover.Candidate
	url    string // as of plain HTTP
	secure bool   // over TLS
}

func (at serverAt) endpoint() (endpoint.Endpoint, error) { return endpoint.ParseURL(at.url) }

func (s *servers) once(ctx context.Context, at serverAt, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return s.post(ctx, at, path, body)
}

// dial connects to a server's address, with TLS if its URL says so.
func (n *network) dial(ctx context.Context, at serverAt, to plan.TLSServer) (net.Conn, error) {
	link, ok := n.reach(at.Candidate)
	if !ok {
		return nil, errors.New("no link leads there yet")
	}
	conn, err := n.worker.sys.Dial(link)(ctx, "tcp", at.Addr.String())
	if err != nil || !at.secure {
		return conn, err
	}
	return n.worker.secure(ctx, conn, to)
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
