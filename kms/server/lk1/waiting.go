package lk1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
)

// Times of a watch.
const (
	// watchPause is how soon a watcher is told again: a flood of strangers
	// must not make it read the table for each.
	watchPause = time.Second
	// watchEvery is when it looks without news: other replicas tell none.
	watchEvery = 10 * time.Second
)

// Waiting lists the nodes that wait for the operator: those that nobody
// approved, and those whose approval must be renewed.
func (s *Service) Waiting() (nodes []Node, err error) {
	err = s.read(func(v view) error {
		return s.rows.fleet.All(v.View, func(row nodeRow) error {
			if row.waits() {
				nodes = append(nodes, v.present(row))
			}
			return nil
		})
	})
	return nodes, err
}

// waits: it was told that it is pending, and no operator has approved it
// since.
func (row *nodeRow) waits() bool {
	return row.State != fleet.Deleted && !row.Quarantined && row.LastStatus == kms.Pending.Code() && !row.Approved.After(row.Last)
}

// watchNodes writes server-sent events (WHATWG HTML, section 9.2): one for
// each node that waits, and one for each that comes to wait, until the
// client is gone.
func (s *Service) watchNodes(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer s.ledger.OnEnd(cancel)()
	events, stop := s.ledger.Listen()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	told := map[kms.NodeID]bool{}
	for {
		nodes, err := s.Waiting()
		if err != nil {
			s.log.Error("watching nodes", "err", err)
			return
		}
		if told, err = tellWaiting(w, told, nodes); err != nil || flush.Flush() != nil {
			return
		}
		if !waitForNews(ctx, events) {
			return
		}
	}
}

// tellWaiting writes the nodes that were not told yet. One that got what it
// waited for is forgotten, so that it is told again when it waits again.
func tellWaiting(w http.ResponseWriter, told map[kms.NodeID]bool, nodes []Node) (map[kms.NodeID]bool, error) {
	now := map[kms.NodeID]bool{}
	b := bytes.NewBufferString(": waiting\n\n") // also shows that the connection lives
	for _, n := range nodes {
		now[n.ID] = true
		if told[n.ID] {
			continue
		}
		text, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(b, "event: node\nid: %s\ndata: %s\n\n", n.ID, text)
	}

	_, err := w.Write(b.Bytes())
	return now, err
}

// waitForNews returns when there may be something to tell; false: nobody is
// there to be told.
func waitForNews(ctx context.Context, events <-chan ledger.Event) bool {
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case e := <-events:
			if e.Node == "" {
				continue
			}
		}

		pause := time.NewTimer(watchPause)
		defer pause.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-pause.C:
			return true
		}
	}
}
