package backup

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Schedule makes backups at times. One is made at a time.
type Schedule struct {
	Maker
	Every time.Duration               // 0: only when one is asked for
	Good  func(context.Context) error // told that one is in all places, before the next is begun; nil: nobody
	Log   *slog.Logger

	making sync.Mutex

	mu     sync.Mutex
	failed int              // tries, since the start
	why    error            // of the last try, nil if it was good
	last   map[string]File  // the newest, by place
	away   map[string]error // places that did not answer
}

// retryFirst is how long after a failure the next try is; it doubles with
// each, up to Every.
const retryFirst = 10 * time.Minute

// Run makes backups until ctx ends. The first one is due when the newest
// that is there is old enough: a restart makes none too many. A nil schedule
// makes none.
func (s *Schedule) Run(ctx context.Context) {
	if s == nil || s.Every == 0 {
		<-ctx.Done()
		return
	}
	retry := min(retryFirst, s.Every)
	for wait := s.due(ctx); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		made, err := s.Make(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.Error("a backup failed; it is tried again", "err", err, "in", retry)
			wait, retry = retry, min(2*retry, s.Every)
		default:
			s.Log.Info("a backup was made", "name", made.Name, "bytes", made.Bytes, "places", strings.Join(made.Places, ", "))
			wait, retry = s.Every, min(retryFirst, s.Every)
		}
	}
}

// due is how long it is until the next backup. The newest may be of a clock
// that was ahead.
func (s *Schedule) due(ctx context.Context) time.Duration {
	s.Look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := s.Every
	for _, place := range s.Places {
		newest, ok := s.last[place.String()]
		if !ok {
			return 0
		}
		wait = min(wait, s.Every-time.Since(newest.At))
	}
	return max(wait, 0)
}

// ErrMaking is a backup that is being made.
var ErrMaking = errors.New("a backup is being made already")

// Make makes a backup now.
func (s *Schedule) Make(ctx context.Context) (Made, error) {
	if !s.making.TryLock() {
		return Made{}, ErrMaking
	}
	defer s.making.Unlock()
	made, err := s.Maker.Make(ctx)
	if err == nil && s.Good != nil {
		if err := s.Good(ctx); err != nil {
			s.Log.Warn("that there is a backup is not known where it is waited for", "err", err)
		}
	}
	s.mu.Lock()
	if s.why = err; err != nil {
		s.failed++
	}
	s.mu.Unlock()
	s.Look(ctx)
	return made, err
}

// Look reads which backup is the newest in each place.
func (s *Schedule) Look(ctx context.Context) {
	last, away := map[string]File{}, map[string]error{}
	for _, place := range s.Places {
		newest, ok, err := Newest(ctx, place, s.Of)
		if err != nil {
			away[place.String()] = err
		}
		if ok {
			last[place.String()] = newest
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.away = last, away
}

// A Status is how backups stand.
type Status struct {
	Places []PlaceStatus `json:"places"`
	Every  string        `json:"every,omitempty"`
	Failed int           `json:"failed"`        // tries, since the server's start
	Why    string        `json:"why,omitempty"` // of the last try, if that failed
}

// A PlaceStatus is how one place stands.
type PlaceStatus struct {
	Place string    `json:"place"`
	Name  string    `json:"newest,omitempty"`
	At    time.Time `json:"at,omitzero"`
	Bytes int64     `json:"bytes,omitempty"` // as it is there
	Away  string    `json:"away,omitempty"`  // why the place does not answer
}

// Status tells what is known, without asking the places.
func (s *Schedule) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Failed: s.failed, Places: []PlaceStatus{}}
	if s.Every != 0 {
		st.Every = s.Every.String()
	}
	if s.why != nil {
		st.Why = s.why.Error()
	}
	for _, place := range s.Places {
		p := PlaceStatus{Place: place.String()}
		if f, ok := s.last[p.Place]; ok {
			p.Name, p.At, p.Bytes = f.Name.String(), f.At, f.Bytes
		}
		if err := s.away[p.Place]; err != nil {
			p.Away = err.Error()
		}
		st.Places = append(st.Places, p)
	}
	slices.SortFunc(st.Places, func(a, b PlaceStatus) int { return strings.Compare(a.Place, b.Place) })
	return st
}
