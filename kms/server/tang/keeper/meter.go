package keeper

import (
	"sync"
	"time"
)

// maxSources is how many sources a meter tells apart.
const maxSources = 1 << 16

// A meter bounds what each source may do: so many at once, which it gets back
// evenly over a time. Times are on the ledger's clock.
type meter struct {
	over time.Duration

	mu      sync.Mutex
	sources map[string]spent // those that have not got all back
}

// spent is what was taken, as of a time.
type spent struct {
	n  float64
	at time.Duration
}

func (m *meter) now(source string, most float64, now time.Duration) float64 {
	s := m.sources[source]
	return max(0, s.n-most*float64(now-s.at)/float64(m.over))
}

// take spends one of a source's, if it has one.
func (m *meter) take(source string, most int, now time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources == nil || len(m.sources) >= maxSources {
		m.forget(float64(most), now)
	}
	if _, known := m.sources[source]; !known && len(m.sources) >= maxSources {
		source = "" // the others are one
	}
	n := m.now(source, float64(most), now)
	if n+1 > float64(most) {
		return false
	}
	m.sources[source] = spent{n + 1, now}
	return true
}

// forget drops the sources that have got all back.
func (m *meter) forget(most float64, now time.Duration) {
	kept := map[string]spent{}
	for source, s := range m.sources {
		if m.now(source, most, now) > 0 {
			kept[source] = s
		}
	}
	m.sources = kept
}
