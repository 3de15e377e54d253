package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/kms/history"
)

// tableSegments has the sealed segments of the audit log, "s/" server "/"
// number, and per server how many of them were removed, "r/" server.
var tableSegments = NewTable("segments", Sealed)

// A Segment is a part of one server's audit log that is closed: no event is
// added to it, and its checkpoint covers it and all before it.
type Segment struct {
	Server     string         `json:"server,omitempty"` // which of those that share the store
	Number     uint64         `json:"number"`           // from 1 on, of that server
	Start      uint64         `json:"start"`            // events of that server before it
	End        uint64         `json:"end"`              // and with it: the checkpoint's size
	First      uint64         `json:"first_seq"`        // sequence numbers of its events
	Last       uint64         `json:"last_seq"`
	Began      time.Time      `json:"began"` // when the first one was
	Ended      time.Time      `json:"ended"`
	Bytes      uint64         `json:"bytes"` // of the events
	Chain      history.Hash   `json:"chain"` // hash of the last event
	Before     []history.Hash `json:"edge_before"`
	Edge       []history.Hash `json:"edge"`       // of the tree at the end
	Checkpoint string         `json:"checkpoint"` // C2SP tlog-checkpoint, with the cosignatures that it got
	Removed    bool           `json:"removed,omitempty"`
}

// A removed row says how many segments of a server are gone.
type removed struct {
	Number uint64    `json:"number"` // of the last one
	At     time.Time `json:"at"`
}

const (
	prefixSegment = "s/"
	prefixRemoved = "r/"
)

func segmentKey(server string, number uint64) []byte {
	return fmt.Appendf(nil, "%s%s/%012d", prefixSegment, cmp.Or(server, onlyServer), number)
}

func removedKey(server string) []byte { return []byte(prefixRemoved + cmp.Or(server, onlyServer)) }

// end is where the server's chain was when the segment was sealed.
func (s Segment) end() state {
	return state{server: s.Server, events: s.End, auditSeq: s.Last, auditHash: s.Chain}
}

// tree is the tree over all events up to its end.
func (s Segment) tree() (history.Tree, error) {
	t, err := history.Grown(s.End, s.Edge)
	if err != nil {
		err = fmt.Errorf("reading segment %d of the audit log: %w: %w", s.Number, ErrUnverified, err)
	}
	return t, err
}

// Segments are all sealed segments, by server and number.
func (v View) Segments() (all []Segment, err error) {
	gone := map[string]uint64{}
	v.Scan(tableSegments, nil, func(key []byte) bool {
		switch {
		case bytes.HasPrefix(key, []byte(prefixRemoved)):
			var r removed
			_, err = v.Load(tableSegments, key, &r)
			gone[string(key[len(prefixRemoved):])] = r.Number
		default:
			var s Segment
			_, err = v.Load(tableSegments, key, &s)
			s.Removed = s.Number <= gone[cmp.Or(s.Server, onlyServer)] // these rows come first
			all = append(all, s)
		}
		return err == nil
	})
	return all, err
}

// newest is a server's last sealed segment; the zero one if there is none.
func (v View) newest(server string) (s Segment, err error) {
	var last []byte
	prefix := segmentKey(server, 0)[:len(segmentKey(server, 0))-12]
	v.Scan(tableSegments, prefix, func(key []byte) bool {
		if !bytes.HasPrefix(key, prefix) {
			return false
		}
		last = bytes.Clone(key)
		return true
	})
	if last == nil {
		return Segment{Server: server}, nil
	}
	_, err = v.Load(tableSegments, last, &s)
	return s, err
}

// segment reads one.
func (v View) segment(server string, number uint64) (s Segment, err error) {
	found, err := v.Load(tableSegments, segmentKey(server, number), &s)
	if err == nil && !found {
		err = fmt.Errorf("segment %d of the audit log: %w", number, ErrNotFound)
	}
	return s, err
}

// bases are where the chains of servers begin of which segments were
// removed.
func (v View) bases() (map[string]Segment, error) {
	all := map[string]Segment{}
	var err error
	v.Glance().Scan(tableSegments, []byte(prefixRemoved), func(key []byte) bool {
		name, is := strings.CutPrefix(string(key), prefixRemoved)
		if !is {
			return false
		}
		var r removed
		if _, err = v.Load(tableSegments, key, &r); err != nil {
			return false
		}
		server := strings.TrimPrefix(name, onlyServer)
		all[server], err = v.segment(server, r.Number)
		return err == nil
	})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	return all, err
}

// origin names the log of a server to others. A database that was restored
// goes on in another log: it has lost what others may have seen.
func (l *Ledger) origin(h state) string {
	origin := fmt.Sprintf("latchkey/%x", l.name)
	if h.server != "" {
		origin += "/" + h.server
	}
	if h.since != 0 {
		origin += fmt.Sprintf("/restored-%d", h.since)
	}
	return origin
}

// errSealed is a segment that another server has sealed meanwhile.
var errSealed = errors.New("it is sealed already")

// body is an event as it is stored, without the hash.
func body(value []byte) []byte { return value[min(len(value), 32):] }

// timeOf is when an event was.
func timeOf(event []byte) (time.Time, error) {
	var e struct {
		Time time.Time `json:"time"`
	}
	err := json.Unmarshal(event, &e)
	return e.Time, err
}

// serversOf are all that ever wrote, by name.
func (w whole) serversOf() []string {
	var all []string
	for server := range w.chains() {
		all = append(all, server)
	}
	slices.Sort(all)
	return all
}

// logKey is the key of a server's log as witnesses take it: C2SP signed-note.
func (v View) logKey(h state) (string, error) {
	pin := v.l.Pins()[0]
	return history.VerifierKey(v.l.origin(h), pin[:])
}
