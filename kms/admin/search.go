package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/kms/ledger"
)

// Bounds of a search in the audit log: events that one page has at most, and
// events that one request looks at.
const (
	searchPage = 1000
	searchLook = 20_000
)

// A Found is a page of a search in the audit log, the newest event first.
type Found struct {
	Events []ledger.Event `json:"events"`
	Next   uint64         `json:"next,omitempty"` // before, for the next page; 0: that was all
}

// A search says which events are wanted. Empty fields are all.
type search struct {
	since, until       time.Time
	event, node, actor string // actor, somewhere in From
	before             uint64 // 0: from the newest on
	limit              int
}

// searchRoute finds events, the newest first.
func (a *API) searchRoute() Route {
	return Route{
		Method: "GET", Path: "/v1/audit/search", Scope: ScopeRead, Reaching: Within, Answer: Found{},
		Doc: "Finds events of the audit log, the newest first. A page may have few events, or none, and a next page.",
		Query: []Param{
			{Name: "since", Doc: "only events from then on", Kind: "date-time"},
			{Name: "until", Doc: "only events before then", Kind: "date-time"},
			{Name: "event", Doc: "only events of this name"},
			{Name: "node", Doc: "only events of the machine whose id begins so"},
			{Name: "actor", Doc: "only events of who has this in the name or address"},
			{Name: "before", Doc: "next of the page before; the newest events if it is not said", Kind: "integer"},
			{Name: "limit", Doc: "events of the page, 1 to 1,000; 1,000 if it is not said", Kind: "integer"},
		},
		Do: func(r *http.Request) (any, error) {
			s, err := parseSearch(r)
			if err != nil {
				return nil, fmt.Errorf("searching the audit log: %w", err)
			}
			return a.search(r.Context(), s)
		},
	}
}

func parseSearch(r *http.Request) (s search, err error) {
	q := r.URL.Query()
	s = search{event: q.Get("event"), node: strings.ToLower(q.Get("node")), actor: q.Get("actor"), limit: searchPage}
	for _, one := range []struct {
		name string
		to   *time.Time
	}{{"since", &s.since}, {"until", &s.until}} {
		if text := q.Get(one.name); text != "" {
			if *one.to, err = time.Parse(time.RFC3339, text); err != nil {
				return s, fmt.Errorf("%s %.40q: want a time as in 2026-11-22T22:30:00Z", one.name, text)
			}
		}
	}
	if text := q.Get("before"); text != "" {
		if s.before, err = strconv.ParseUint(text, 10, 64); err != nil || s.before == 0 {
			return s, fmt.Errorf("before %.20q: no sequence number", text)
		}
	}
	if text := q.Get("limit"); text != "" {
		if s.limit, err = strconv.Atoi(text); err != nil || s.limit < 1 || s.limit > searchPage {
			return s, fmt.Errorf("limit %.20q: must be 1 to %d", text, searchPage)
		}
	}
	return s, nil
}

func (s *search) wants(e *ledger.Event) bool {
	return !e.Time.Before(s.since) && (s.until.IsZero() || e.Time.Before(s.until)) &&
		(s.event == "" || e.Event == s.event) && strings.HasPrefix(e.Node, s.node) && strings.Contains(e.From, s.actor)
}

// search goes back a chunk at a time: the log is read in its own order.
func (a *API) search(ctx context.Context, s search) (f Found, err error) {
	f.Events = []ledger.Event{}
	oldest, newest, err := a.ledger.AuditRange()
	if err != nil {
		return f, err
	}
	if s.before == 0 || s.before > newest {
		s.before = newest + 1
	}

	for looked := 0; s.before > oldest && looked < searchLook; {
		from := oldest
		if s.before > searchPage+oldest {
			from = s.before - searchPage
		}
		chunk, err := a.between(ctx, from, s.before)
		if err != nil {
			return f, err
		}
		looked += chunk.looked
		slices.Reverse(chunk.events)
		for i := range chunk.events {
			if len(f.Events) == s.limit {
				f.Next = chunk.events[i].Seq + 1
				return f, nil
			}
			if s.wants(&chunk.events[i]) {
				f.Events = append(f.Events, chunk.events[i])
			}
		}
		s.before = from
		if chunk.looked > 0 && chunk.first.Before(s.since.Add(-time.Hour)) {
			return f, nil // the clock may have been set back a little, not more
		}
	}

	if s.before > oldest {
		f.Next = s.before
	}
	return f, nil
}

// A chunk is a part of the log.
type chunk struct {
	events []ledger.Event // of which somebody is told
	looked int            // of all that there are
	first  time.Time      // of the first of all
}

// between is what is there from one number on, below another.
func (a *API) between(ctx context.Context, from, below uint64) (c chunk, err error) {
	err = a.ledger.Read(func(v ledger.View) error {
		var failed error
		seen := a.seen(ctx, v)
		err := v.Events(from, func(e ledger.Event) bool {
			if e.Seq >= below {
				return false
			}
			if c.looked++; c.looked == 1 {
				c.first = e.Time
			}
			var yes bool
			if yes, failed = seen(&e); yes {
				c.events = append(c.events, e)
			}
			return failed == nil
		})
		return cmp.Or(err, failed)
	})
	return c, err
}
