package ledger

import "sync"

// news tells what the audit log got to who listens. It waits for nobody: a
// listener that is too slow misses events, and can read the log.
type news struct {
	mu        sync.Mutex
	listeners map[chan Event]struct{}
	ends      map[*func()]struct{} // how watches end
}

// newsRoom is how many events a listener may be behind.
const newsRoom = 256

// listen returns the events from now on, until stop is called.
func (n *news) listen() (events <-chan Event, stop func()) {
	c := make(chan Event, newsRoom)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[chan Event]struct{}{}
	}
	n.listeners[c] = struct{}{}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, c)
	}
}

func (n *news) tell(events []Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.listeners {
		for _, e := range events {
			select {
			case c <- e:
			default:
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

// Listen returns the events from now on, until stop is called.
func (l *Ledger) Listen() (events <-chan Event, stop func()) { return l.news.listen() }

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
