package lk1

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// How long a machine that waits is kept before it is told to ask again in any
// case: somewhere in the last fifth, so that those that came together do not
// leave together. One that was refused for a reason that ends by itself (a
// window of time, a limit) is kept for less.
const (
	lobbyLife  = kms.MaxWait - 10*time.Second
	lobbyShort = 30 * time.Second
)

func spread(d time.Duration) time.Duration { return d - rand.N(d/5) }

// A guest is a machine that was refused and waits to hear that something was
// changed for it. Only its connection is kept: no goroutine, no buffers.
type guest struct {
	node    kms.NodeID
	volumes []kms.UUID
	conn    net.Conn
	until   time.Time
}

// A lobby has the machines that wait.
type lobby struct {
	mu   sync.Mutex
	of   map[kms.NodeID][]*guest
	open bool // somebody listens for them
}

// wait takes a machine into the lobby. What it brings is the report cookie of
// the M4 that refused it.
func (s *Service) wait(w http.ResponseWriter, r *http.Request) {
	body, ok := message(w, r, kms.MaxReportCookie+2)
	if !ok {
		return
	}
	began := time.Now()
	g, err := s.guestOf(body)
	if err != nil && s.bound != nil {
		http.NotFound(w, r) // the center closed the cookie, and tells no machine of a site
		return
	}
	s.counted.Request("lk1", "wait", resultOf(err), began)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	if !front.Park(r.Context()) {
		front.Busy(w)
		return
	}
	if g.conn, _, err = http.NewResponseController(w).Hijack(); err != nil {
		front.Busy(w) // HTTP/2, which no node speaks
		return
	}
	g.conn.SetDeadline(time.Time{})
	s.lobby.take(g, s.watchLobby)
	switch done, waits := s.settled(g.node); {
	case done: // between its refusal and now
		s.lobby.call(g)
	case !waits:
		s.lobby.hurry([]*guest{g}, lobbyShort)
	}
}

func (s *Service) guestOf(body []byte) (*guest, error) {
	cookie, err := kms.ParseWait(body)
	if err != nil {
		return nil, err
	}
	receipt, err := s.cookies.openReceipt(cookie)
	if err != nil {
		return nil, err
	}
	receipt.key.Wipe()
	g := &guest{node: receipt.node, until: time.Now().Add(spread(lobbyLife))}
	for _, v := range receipt.volumes {
		g.volumes = append(g.volumes, v.UUID)
	}
	return g, nil
}

// settled tells whether a machine that was told to wait for an operator need
// not any more; waits, whether only an operator changes what it was told.
func (s *Service) settled(id kms.NodeID) (done, waits bool) {
	s.read(func(v view) error {
		row, found, err := v.node(id)
		if err != nil || !found {
			return err
		}
		asked := row.LastStatus == kms.Pending.Code() || row.LastStatus == kms.PCRMismatch.Code()
		done = asked && row.State == fleet.Approved && (!row.waits() || !row.Approved.Before(row.Last))
		waits = row.LastStatus != kms.Refused.Code() && row.LastStatus != kms.TooOften.Code()
		return nil
	})
	return done, waits
}

// take lets a guest in; listen is started if nobody listens.
func (l *lobby) take(g *guest, listen func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[kms.NodeID][]*guest{}
	}
	l.of[g.node] = append(l.of[g.node], g)
	if !l.open {
		l.open = true
		go listen()
	}
}

// leave takes one out; false means that it has left.
func (l *lobby) leave(g *guest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.of[g.node]
	i := slices.Index(all, g)
	if i < 0 {
		return false
	}
	if all = slices.Delete(all, i, i+1); len(all) > 0 {
		l.of[g.node] = all
	} else {
		delete(l.of, g.node)
	}
	return true
}

// comeNow is the answer to one that is worth asking again.
const comeNow = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"

// call tells a guest that it is worth asking again.
func (l *lobby) call(g *guest) {
	if !l.leave(g) {
		return
	}
	g.conn.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(g.conn, comeNow)
	g.conn.Close()
}

// whom are those whom an event is about. What a machine did itself calls
// nobody.
func (l *lobby) whom(e ledger.Event) (all []*guest) {
	if e.TH2 != "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, err := kms.ParseNodeID(e.Node); err == nil {
		all = slices.Clone(l.of[id])
	}
	if len(e.Volumes) == 0 || len(all) > 0 {
		return all
	}
	for _, guests := range l.of {
		for _, g := range guests {
			if slices.ContainsFunc(g.volumes, func(u kms.UUID) bool { return slices.Contains(e.Volumes, u) }) {
				all = append(all, g)
			}
		}
	}
	return all
}

// sweep has those ask again whose time is over; at the end all are sent away,
// and ask at their own pace. It closes the lobby if it is empty.
func (l *lobby) sweep(now time.Time, end bool) (empty bool) {
	for _, g := range l.everybody() {
		switch {
		case end && l.leave(g):
			g.conn.Close()
		case !end && now.After(g.until):
			l.call(g)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = len(l.of) > 0
	return !l.open
}

// hurry has guests ask again within a time, not all at once.
func (l *lobby) hurry(all []*guest, within time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range all {
		if until := time.Now().Add(rand.N(within)); until.Before(g.until) {
			g.until = until
		}
	}
}

// everybody are all that wait.
func (l *lobby) everybody() (all []*guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, guests := range l.of {
		all = append(all, guests...)
	}
	return all
}

// ofAll tells whether an event may change something for any machine.
func ofAll(e ledger.Event) bool {
	return strings.HasPrefix(e.Event, "policy ") || strings.HasPrefix(e.Event, "release ")
}

// watchLobby calls guests when something is changed for them, here or on
// another server of the store, until the lobby is empty.
func (s *Service) watchLobby() {
	events, stop := s.ledger.ListenAll()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer s.ledger.OnEnd(cancel)()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-events.Events:
			if ofAll(e) {
				s.lobby.hurry(s.lobby.everybody(), lobbyShort)
			}
			for _, g := range s.lobby.whom(e) {
				s.lobby.call(g)
			}
		case now := <-tick.C:
			if events.Missed() {
				s.lookThrough()
			}
			if s.lobby.sweep(now, false) {
				return
			}
		case <-ctx.Done():
			s.lobby.sweep(time.Now(), true)
			return
		}
	}
}

// lookThrough looks for those that need not wait any more, after events were
// missed.
func (s *Service) lookThrough() {
	for _, g := range s.lobby.everybody() {
		if done, _ := s.settled(g.node); done {
			s.lobby.call(g)
		}
	}
}
