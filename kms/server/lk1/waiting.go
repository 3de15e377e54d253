package lk1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
	// watchEvery is when a comment is sent without news.
	watchEvery = 10 * time.Second
)

// Waiting lists the nodes that wait for the operator: those that nobody
// approved, those whose approval must be renewed, and those that booted what
// was not approved.
func (s *Service) Waiting() ([]Node, error) { return s.waitingFor(context.Background()) }

func (s *Service) waitingFor(ctx context.Context) (nodes []Node, err error) {
	err = s.see(ctx, func(v view) error {
		if err := v.lookAtAll(); err != nil {
			return err
		}
		return v.theirs().All(v.View, func(row nodeRow) error {
			if row.waits() {
				nodes = append(nodes, v.present(row))
			}
			return nil
		})
	})
	return nodes, err
}

// waits: it was told that it is pending, and no operator has approved it
// since; or that its boot is not the approved one, and none has accepted it.
func (row *nodeRow) waits() bool {
	if row.State == fleet.Approved && !row.Quarantined && row.LastStatus == kms.PCRMismatch.Code() && row.Shown != nil && row.Shown.Boot {
		return slices.ContainsFunc(slices.Collect(maps.Keys(row.Pins)), func(pcr int) bool { return row.Shown.PCRs[pcr] != row.Pins[pcr] })
	}
	return row.State != fleet.Deleted && !row.Quarantined && row.LastStatus == kms.Pending.Code() && !row.Approved.After(row.Last)
}

// watchNodes writes server-sent events (WHATWG HTML, section 9.2): one for
// each node that waits, and one for each that comes to wait, until the
// client is gone.
func (s *Service) watchNodes(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer s.ledger.OnEnd(cancel)()
	events, stop := s.ledger.ListenAll()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	told, all := map[kms.NodeID]bool{}, true
	var heard []kms.NodeID
	for {
		nodes, err := s.waitingAmong(ctx, heard, all)
		if err != nil {
			s.log.Error("watching nodes", "err", err)
			return
		}
		if err := tellWaiting(w, told, heard, all, nodes); err != nil || flush.Flush() != nil {
			return
		}
		if heard, all = waitForNews(ctx, events, func(id kms.NodeID) bool { return told[id] || s.tells(ctx, id) }); ctx.Err() != nil {
			return
		}
	}
}

// waitingAmong lists those of some nodes that wait; of all, if they are to be
// looked through. Only one watch at a time looks through all.
func (s *Service) waitingAmong(ctx context.Context, ids []kms.NodeID, all bool) (nodes []Node, err error) {
	if all {
		s.looking.Lock()
		defer s.looking.Unlock()
		return s.waitingFor(ctx)
	}
	err = s.see(ctx, func(v view) error {
		for _, id := range ids {
			row, found, err := v.theirs().Get(v.View, id[:])
			if err != nil {
				return err
			}
			if found && row.waits() {
				nodes = append(nodes, v.present(row))
			}
		}
		return nil
	})
	return nodes, err
}

// tellWaiting writes the nodes that were not told yet. One of those that were
// looked at and wait no longer is forgotten, so that it is told when it waits
// again.
func tellWaiting(w http.ResponseWriter, told map[kms.NodeID]bool, looked []kms.NodeID, all bool, nodes []Node) error {
	now := map[kms.NodeID]bool{}
	b := bytes.NewBufferString(": waiting\n\n") // also shows that the connection lives
	for _, n := range nodes {
		now[n.ID] = true
		if told[n.ID] {
			continue
		}
		text, err := json.Marshal(n)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "event: node\nid: %s\ndata: %s\n\n", n.ID, text)
		told[n.ID] = true
	}

	if all {
		looked = slices.Collect(maps.Keys(told))
	}
	for _, id := range looked {
		if !now[id] {
			delete(told, id)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// tells tells whether who watches may be told of a node. That something
// happens to others is not for them either.
func (s *Service) tells(ctx context.Context, id kms.NodeID) (yes bool) {
	err := s.see(ctx, func(v view) (err error) {
		yes, err = v.nodes()(id)
		return err
	})
	return yes && err == nil
}

// waitForNews returns the nodes that there may be something to tell of: those
// of the events of a moment. All: events were missed, so that it may be any.
func waitForNews(ctx context.Context, events *ledger.Listener, of func(kms.NodeID) bool) (heard []kms.NodeID, all bool) {
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	pause := (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return nil, false
		case <-timer.C:
			return heard, events.Missed()
		case <-pause:
			return heard, events.Missed()
		case e := <-events.Events:
			id, err := kms.ParseNodeID(e.Node)
			if err != nil || !of(id) {
				continue
			}
			heard = append(heard, id)
			if pause == nil {
				pause = time.After(watchPause)
			}
		}
	}
}
