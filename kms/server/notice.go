package server

import (
	"context"
	"strings"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/hook"
)

// Tell passes on what gets into the audit log from now on, until ctx ends.
func (s *Server) Tell(ctx context.Context, to func(hook.Notice)) {
	events, stop := s.Listen()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events.Events:
			to(notice(e))
		}
	}
}

// notice is an event as others are told it.
func notice(e ledger.Event) hook.Notice {
	n := hook.Notice{Seq: e.Seq, Time: e.Time, Event: e.Event, Status: e.Status, Reason: e.Reason, Node: e.Node, From: e.From, Detail: e.Detail}
	// Talos' machines are told one status for everything.
	if strings.HasPrefix(e.Event, "talos ") && n.Reason == "" {
		n.Reason = e.Detail
	}
	// A TPMHash looks like an id, and has no words.
	if id, err := kms.ParseNodeID(e.Node); err == nil && !strings.HasPrefix(e.Event, "kairos") {
		n.Words = id.Words()
	}
	return n
}
