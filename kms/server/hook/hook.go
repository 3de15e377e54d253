// Package hook tells others what happens at a key server: web services by
// signed requests, and programs of the operator's. It never makes the key
// server wait: what is too much is dropped, and said to be.
package hook

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Notice is what is told: an event of the audit log, and the node's words.
// It holds no secret.
type Notice struct {
	Seq    uint64    `json:"seq"` // number in the audit log: the same after a retry
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Status string    `json:"status,omitempty"` // what the node was told
	Reason string    `json:"reason,omitempty"` // the rule that decided it
	Node   string    `json:"node,omitempty"`
	Words  string    `json:"words,omitempty"`
	From   string    `json:"from,omitempty"` // address of who asked, or the operator
	Detail string    `json:"detail,omitempty"`
	Link   string    `json:"link,omitempty"` // of the node's page, where who signs in decides
}

// queueSize is how many notices may wait for one hook.
const queueSize = 256

// A Target is where notices go.
type Target interface {
	// deliver tells once. An error that wraps errFinal is not retried.
	deliver(ctx context.Context, m message) error
	String() string
}

// A Hook is a target, and what it wants to be told.
type Hook struct {
	Target Target
	On     []string // names of events, statuses or rules (approve, pending, window), or All
	Labels []string // of the machines that it wants to be told of; none: all, and what is no machine's
	// Sees tells whether a notice is of a machine with one of the labels, now.
	Sees func(n Notice, labels []string) bool
	// Blind: who reads it approves by links and the words of a console, so that
	// it is told no words, nor an id, of which words are made.
	Blind  bool
	Person string // who reads it; empty: nobody knows
	// Link is the link of a notice for it; "" if there is none.
	Link func(ctx context.Context, h Hook, n Notice) (string, error)
}

// All in a Hook's On is everything that is told.
const All = "all"

// wants: a notice's event, status or rule is named, or all are wanted.
func (h Hook) wants(n Notice) bool {
	if len(h.Labels) > 0 && (n.Node == "" || h.Sees == nil || !h.Sees(n, h.Labels)) {
		return false
	}
	if n.Event == linkOver {
		return h.wantsLink(n)
	}
	return slices.Contains(h.On, All) || slices.ContainsFunc([]string{n.Event, n.Status, n.Reason}, func(s string) bool { return s != "" && slices.Contains(h.On, s) })
}

// linkOver is a machine that waits on, and whose links are over: whoever had one
// is told of the machine again, with a new one.
const linkOver = "link over"

// wantsLink: a hook is told of machines that wait, and has links. The others
// heard of this one when it came.
func (h Hook) wantsLink(n Notice) bool {
	names := []string{All, linkOver}
	if h.Blind {
		names = append(names, n.Status, n.Reason, "get", "stage", "enroll", "boot-log")
	}
	return slices.ContainsFunc(names, func(s string) bool { return s != "" && slices.Contains(h.On, s) })
}

// A Set is hooks at work.
type Set struct {
	log    *slog.Logger
	stop   context.CancelFunc
	queues []queue
	done   sync.WaitGroup
}

type queue struct {
	Hook
	notices chan Notice
}

// Start begins to deliver.
func Start(hooks []Hook, log *slog.Logger) *Set {
	ctx, stop := context.WithCancel(context.Background())
	s := &Set{log: log, stop: stop}
	for _, h := range hooks {
		q := queue{h, make(chan Notice, queueSize)}
		s.queues = append(s.queues, q)
		s.done.Go(func() { s.run(ctx, q) })
	}
	return s
}

// Stop ends deliveries under way. What has not been delivered is named in
// the log: the audit log has it, and after a restart nobody is told of it.
func (s *Set) Stop() {
	s.stop()
	s.done.Wait()
}

// Tell puts a notice into the queues of those who want it, and waits for
// nobody.
func (s *Set) Tell(n Notice) {
	for _, q := range s.queues {
		if !q.wants(n) {
			continue
		}
		select {
		case q.notices <- n:
		default:
			s.log.Warn("hook is behind: a notice is dropped", "hook", q.Target, "seq", n.Seq, "event", n.Event)
		}
	}
}

// Attempts of one delivery, and the pauses between them: 1, 2, 4, 8, 16 s.
const (
	attempts   = 6
	firstPause = time.Second
)

func (s *Set) run(ctx context.Context, q queue) {
	for {
		select {
		case <-ctx.Done():
			s.lost(q, 0, 0)
			return
		case n := <-q.notices:
			told := s.seen(ctx, q.Hook, n)
			if q.Blind && n.Event == linkOver && told.Link == "" {
				continue // there is nothing new
			}
			if s.deliver(ctx, q.Target, told); ctx.Err() != nil {
				s.lost(q, 1, n.Seq)
				return
			}
		}
	}
}

// seen is a notice as a hook is told it.
func (s *Set) seen(ctx context.Context, h Hook, n Notice) Notice {
	if !h.Blind {
		return n
	}
	full := n
	n.Words, n.Node, n.Link = "", "", ""
	if h.Link == nil || full.Status != "pending" || full.Words == "" {
		return n
	}
	link, err := h.Link(ctx, h, full)
	if err != nil {
		s.log.Error("a notice goes without its link", "hook", h.Target, "seq", n.Seq, "err", err)
	}
	n.Link = link
	return n
}

// lost tells of the notices that a hook was not told when the server
// stopped; cut is one whose delivery did not end.
func (s *Set) lost(q queue, cut int, first uint64) {
	waiting := len(q.notices)
	if cut == 0 && waiting > 0 {
		first = (<-q.notices).Seq
	}
	if cut+waiting > 0 {
		s.log.Warn("the server stops before a hook was told all; latchkey-kms audit show has the events",
			"hook", q.Target, "notices", cut+waiting, "from_seq", first)
	}
}

func (s *Set) deliver(ctx context.Context, t Target, n Notice) {
	body, err := json.Marshal(n)
	if err != nil {
		s.log.Error("hook", "hook", t, "err", err)
		return
	}

	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := t.deliver(ctx, message{n, body})
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == attempts || isFinal(err) {
			s.log.Error("hook failed", "hook", t, "seq", n.Seq, "event", n.Event, "attempts", attempt, "err", err)
			return
		}

		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}

		pause *= 2
	}
}
