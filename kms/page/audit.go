package page

import (
	"encoding/json"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
)

// auditView is a search in the audit log.
type auditView struct {
	Since, Until, Event, Node, Actor string // as they were typed
	Events                           []ledger.Event
	Older                            template.URL // query of the next page; empty: that was all
	Export                           template.URL // query of the export
}

// audit shows events, the newest first.
func (v *visit) audit() error {
	q := v.r.URL.Query()
	view := auditView{Since: q.Get("since"), Until: q.Get("until"), Event: q.Get("event"), Node: q.Get("node"), Actor: q.Get("actor")}
	query, err := view.query()
	if err != nil {
		return err
	}
	view.Export = template.URL(query.Encode())

	query.Set("limit", "200")
	if before := q.Get("before"); before != "" {
		query.Set("before", before)
	}
	var found admin.Found
	if err := v.get("/v1/audit/search", query, &found); err != nil {
		return err
	}
	view.Events = found.Events
	if found.Next != 0 {
		older := url.Values{"before": {strconv.FormatUint(found.Next, 10)}}
		for _, name := range []string{"since", "until", "event", "node", "actor"} {
			if said := q.Get(name); said != "" {
				older.Set(name, said)
			}
		}
		view.Older = template.URL(older.Encode())
	}
	return v.render("audit", view)
}

// query is the search as the API takes it: days that people type are times.
func (view *auditView) query() (url.Values, error) {
	query := url.Values{}
	for name, said := range map[string]string{"event": view.Event, "node": view.Node, "actor": view.Actor} {
		if said = strings.TrimSpace(said); said != "" {
			query.Set(name, said)
		}
	}
	for name, said := range map[string]string{"since": view.Since, "until": view.Until} {
		if said == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, said)
		if err != nil {
			return nil, &admin.StatusError{Status: 400, Text: "The day " + strconv.Quote(said) + " must be as in 2026-11-22."}
		}
		if name == "until" {
			at = at.AddDate(0, 0, 1) // that day, too
		}
		query.Set(name, at.Format(time.RFC3339))
	}
	return query, nil
}

// maxExport is how many events one export has at most.
const maxExport = 100_000

// export gives a search's events as JSON, one on a line, the newest first.
func (v *visit) export() error {
	query := url.Values{}
	for _, name := range []string{"since", "until", "event", "node", "actor"} {
		if said := v.r.URL.Query().Get(name); said != "" {
			query.Set(name, said)
		}
	}
	v.w.Header().Set("Content-Type", "application/jsonl")
	v.w.Header().Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
	out := json.NewEncoder(v.w)
	for written := 0; written < maxExport; {
		var found admin.Found
		if err := v.get("/v1/audit/search", query, &found); err != nil {
			return err
		}
		for _, e := range found.Events {
			if err := out.Encode(e); err != nil {
				return nil // the browser is gone
			}
		}
		if written += len(found.Events); found.Next == 0 {
			break
		}
		query.Set("before", strconv.FormatUint(found.Next, 10))
	}
	return nil
}
