package daemon

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"latchkey/kms/config"
)

// Of one message so many lines are logged in so much time, and so many of
// one source. Strangers can make the server log: a flood of theirs must
// neither fill the disk nor hide what else is said, nor who else it is said
// of. The audit log has every decision all the same.
const (
	linesPerWindow = 60
	linesPerSource = 20
	logWindow      = time.Minute
)

// newLog is the server's log on w; level may change while it is used.
func newLog(w io.Writer, c *config.Log, level *slog.LevelVar) *slog.Logger {
	level.Set(c.SlogLevel())
	var h slog.Handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	if c.Format == config.LogJSON {
		h = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	}
	return slog.New(&sparing{Handler: h, said: &said{by: map[string]*window{}}})
}

// sparing is a handler that leaves out what is said again and again, and
// says how much that was.
type sparing struct {
	slog.Handler
	said *said
}

// said is how often each message was logged. Messages are constants of the
// program, so there are few.
type said struct {
	mu sync.Mutex
	by map[string]*window
}

// A window counts the lines of one message.
type window struct {
	began   time.Time
	lines   int
	leftOut int
	of      map[string]int // lines, by their source
}

// Handle implements slog.Handler.
func (s *sparing) Handle(ctx context.Context, r slog.Record) error {
	ok, leftOut := s.said.admit(r.Message, sourceOf(r), r.Time)
	if !ok {
		return nil
	}
	if leftOut > 0 {
		r.AddAttrs(slog.Int("left_out_before", leftOut))
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s *sparing) WithAttrs(a []slog.Attr) slog.Handler {
	return &sparing{s.Handler.WithAttrs(a), s.said}
}

// WithGroup implements slog.Handler.
func (s *sparing) WithGroup(name string) slog.Handler {
	return &sparing{s.Handler.WithGroup(name), s.said}
}

// sourceOf is the network that a line is about: an address, or the /64 of
// IPv6, of the attribute from; "" if there is none.
func sourceOf(r slog.Record) (source string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "from" {
			return true
		}
		source = a.Value.String()
		if ip, err := netip.ParseAddr(source); err == nil && ip.Unmap().Is6() {
			if network, err := ip.WithZone("").Prefix(64); err == nil {
				source = network.String()
			}
		}
		return false
	})
	return source
}

// admit counts a line, and tells whether it is logged and how many like it
// were not since the last one that was.
func (s *said) admit(message, source string, now time.Time) (ok bool, leftOut int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.by[message]
	if w == nil {
		w = &window{began: now, of: map[string]int{}}
		s.by[message] = w
	}
	if now.Sub(w.began) >= logWindow {
		leftOut = w.leftOut
		*w = window{began: now, of: map[string]int{}}
	}
	if w.lines == linesPerWindow || source != "" && w.of[source] == linesPerSource {
		w.leftOut++
		return false, 0
	}
	w.lines++
	w.of[source]++ // at most one entry for each line
	return true, leftOut
}
