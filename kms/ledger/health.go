package ledger

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Probes: how often it is tried whether the store still takes writes, when
// nothing else was written, and when the last write failed.
const (
	probeEvery  = 30 * time.Second
	probeFailed = 2 * time.Second
)

// health is what is known of the store: without it there is no audit, and
// without audit no release.
type health struct {
	mu      sync.Mutex
	written time.Time // last success
	err     error     // of the last write
	failed  chan struct{}
}

// wrote notes how a write to the store ended.
func (l *Ledger) wrote(err error) {
	h := &l.health
	h.mu.Lock()
	before := h.err
	if h.err = err; err == nil {
		h.written = time.Now()
	}

	h.mu.Unlock()
	switch {
	case err != nil && before == nil:
		l.log.Error("nothing is released: the store takes no writes", "err", err)
		select {
		case h.failed <- struct{}{}:
		default:
		}
	case err == nil && before != nil:
		l.log.Info("the store takes writes again")
	}
}

func (h *health) last() (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written, h.err
}

// Healthy says why nothing can be released: what the last write said, at
// most half a minute ago while Watch runs. It costs nothing.
func (l *Ledger) Healthy() error {
	if _, err := l.health.last(); err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	if err := l.damaged(); err != nil {
		return err
	}
	return l.marked()
}

// Ready reads the store and says why nothing can be released.
func (l *Ledger) Ready() error {
	if err := l.Answers(); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	if err := l.Read(func(v View) error { return cmp.Or(v.keys.unable(), l.spent(v.keys)) }); err != nil {
		return err
	}
	return l.Healthy()
}

// Watch tries the store now and then, until ctx ends.
func (l *Ledger) Watch(ctx context.Context) {
	looked := time.Now() // for servers that are gone
	for {
		written, err := l.health.last()
		wait := probeFailed
		if err == nil {
			wait = time.Until(written.Add(probeEvery))
		}

		select {
		case <-ctx.Done():
			return
		case <-l.health.failed:
			continue // from now on, more often
		case <-time.After(max(wait, 0)):
		}

		due := l.shared && time.Since(looked) > idleHead
		if again, _ := l.health.last(); again == written || due { // nobody else wrote
			looked = time.Now()
			l.Update(ctx, func(t *Txn) error { return t.EndIdle() })
		}
	}
}

// Answers tells whether the store can be read.
func (l *Ledger) Answers() error {
	return l.Read(func(v View) error { _, err := v.readState(); return err })
}

// AuditEvents is how many events the audit log has.
func (l *Ledger) AuditEvents() (n uint64, err error) {
	err = l.Read(func(v View) error {
		st, err := v.readState()
		n = st.events
		return err
	})
	return n, err
}

// AuditRange are the first and the last number that an event of the audit log
// has; none of those below the first is kept.
func (l *Ledger) AuditRange() (first, last uint64, err error) {
	err = l.Read(func(v View) error {
		st, err := v.readState()
		if err != nil {
			return err
		}
		first, last = st.auditSeq+1, st.auditSeq
		return v.Events(0, func(e Event) bool { first = e.Seq; return false })
	})
	return first, last, err
}
