package ledger

import (
	"sync"
	"sync/atomic"
)

// news tells what the audit log got to who listens. It waits for nobody: a
// listener that is too slow misses events, and can read the log.
type news struct {
	mu        sync.Mutex
	listeners map[*Listener]struct{}
	ends      map[*func()]struct{} // how watches end
}

// newsRoom is how many events a listener may be behind.
const newsRoom = 256

// A Listener hears of events.
type Listener struct {
	Events <-chan Event

	all    bool // those of other key servers on the store, too
	send   chan Event
	missed atomic.Bool
}

// Missed tells, once, whether there were events that the listener was too
// slow for.
func (n *Listener) Missed() bool { return n.missed.Swap(false) }

func (n *news) listen(all bool) (l *Listener, stop func()) {
	l = &Listener{all: all, send: make(chan Event, newsRoom)}
	l.Events = l.send
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[*Listener]struct{}{}
	}
	n.listeners[l] = struct{}{}
	return l, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, l)
	}
}

// tell passes events on; foreign ones are of another key server.
func (n *news) tell(events []Event, foreign bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.listeners {
		for _, e := range events {
			if foreign && !l.all {
				break
			}
			select {
			case l.send <- e:
			default:
				l.missed.Store(true)
			}
		}
	}
}

// onEnd has f called when the server shuts down, until stop is called.
func (n *news) onEnd(f func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends == nil {
		n.ends = map[*func()]struct{}{}
	}
	n.ends[&f] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.ends, &f)
	}
}

// Listen returns this server's events from now on, until stop is called.
func (l *Ledger) Listen() (events *Listener, stop func()) { return l.news.listen(false) }

// ListenAll returns also those of the other key servers on the store.
func (l *Ledger) ListenAll() (events *Listener, stop func()) { return l.news.listen(true) }

// OnEnd has f called when answers that last are to end, until stop is
// called.
func (l *Ledger) OnEnd(f func()) (stop func()) { return l.news.onEnd(f) }

// EndWatches ends the answers that last: an HTTP server that shuts down
// waits for all answers.
func (l *Ledger) EndWatches() {
	l.news.mu.Lock()
	defer l.news.mu.Unlock()
	for f := range l.news.ends {
		(*f)()
	}
}
