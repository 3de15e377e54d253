package admin

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"latchkey/kms/ledger"
)

// ofParam says which of the servers that share a store.
var ofParam = Param{Name: "server", Doc: "which of the servers that share the store, by the eight digits of its name; nothing for the only one"}

// An Upgraded is in which format a store was, and is.
type Upgraded struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// historyRoutes are about what becomes of the audit log.
func (a *API) historyRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/v1/audit/logs", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Lists the audit logs, one of each server that ever wrote, with the key of their checkpoints.",
			Answer: []ledger.ServerLog{}, Do: func(*http.Request) (any, error) { return List(a.ledger.Logs()) },
		},
		{
			Method: "GET", Path: "/v1/audit/segments", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Lists the sealed segments of the audit log with their checkpoints, also those whose events were removed.",
			Answer: []ledger.Segment{}, Do: func(*http.Request) (any, error) { return List(a.segments()) },
		},
		{
			Method: "GET", Path: "/v1/audit/segment", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Gives the events of a sealed segment exactly as they were logged, one on a line.",
			Query:  []Param{ofParam, {Name: "number", Doc: "of the segment, from 1 on", Required: true, Kind: "integer"}},
			Answer: []byte{}, Media: "application/jsonl", Stream: a.segment,
		},
		{
			Method: "GET", Path: "/v1/audit/proof", Scope: ScopeRead, Reaching: OnlyWhole, Doc: "Proves that a checkpoint covers an event: the event as it was logged, and a proof in the form of C2SP tlog-proof.",
			Query:  []Param{ofParam, {Name: "number", Doc: "sequence number of the event", Required: true, Kind: "integer"}},
			Answer: ledger.Proven{}, Do: a.proof,
		},
		{
			Method: "POST", Path: "/v1/audit/seal", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Seals what was logged since the last checkpoint, at once; another server that runs on the store seals its own log.",
			Answer: []ledger.Segment{}, Do: func(r *http.Request) (any, error) { return List(a.seal(r)) },
		},
		{
			Method: "POST", Path: "/v1/store/upgrade", Scope: ScopeAdmin, Reaching: OnlyWhole, Doc: "Has the store written in the newest format: earlier versions do not open it any more.",
			Answer: Upgraded{}, Do: a.upgrade,
		},
	}
}

func (a *API) segments() (all []ledger.Segment, err error) {
	err = a.ledger.Read(func(v ledger.View) error {
		all, err = v.Segments()
		return err
	})
	return all, err
}

// errOlder is a store that has no segments.
var errOlder = fmt.Errorf("%w: the store is in an older format, without checkpoints; once no earlier version runs on it, run: latchkey-kms store upgrade", ledger.ErrRefused)

func (a *API) seal(r *http.Request) ([]ledger.Segment, error) {
	sealed, err := a.ledger.HasSegments()
	if err != nil {
		return nil, err
	}
	if !sealed {
		return nil, fmt.Errorf("sealing the audit log: %w", errOlder)
	}
	return a.ledger.SealDue(r.Context(), 0)
}

func (a *API) upgrade(r *http.Request) (any, error) {
	from, err := a.ledger.Upgrade(r.Context())
	if err != nil {
		return nil, err
	}
	to, _, err := a.ledger.Format()
	return Upgraded{from, to}, err
}

// numberOf reads the parameters number and server.
func numberOf(r *http.Request) (n uint64, server string, err error) {
	text := r.URL.Query().Get("number")
	if n, err = strconv.ParseUint(text, 10, 64); err != nil || n == 0 {
		return 0, "", fmt.Errorf("number %.20q: want a number from 1 on", text)
	}
	return n, r.URL.Query().Get("server"), nil
}

func (a *API) proof(r *http.Request) (any, error) {
	seq, server, err := numberOf(r)
	if err != nil {
		return nil, err
	}
	return a.ledger.Prove(seq, server)
}

// segment writes events. What fails before the first one is told; after that
// the answer ends without its end, so that nobody takes it for whole.
func (a *API) segment(w http.ResponseWriter, r *http.Request) {
	number, server, err := numberOf(r)
	if err != nil {
		writeResult(w, nil, err)
		return
	}
	out, begun := bufio.NewWriter(w), false
	err = a.ledger.Segment(server, number, func(event []byte) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/jsonl")
		}
		out.Write(event)
		return out.WriteByte('\n')
	})
	switch {
	case err == nil:
		err = out.Flush()
	case !begun:
		writeResult(w, nil, err)
		return
	}
	if err != nil {
		if r.Context().Err() == nil && !errors.Is(err, http.ErrAbortHandler) {
			a.log.Error("giving a segment of the audit log", "segment", number, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}
