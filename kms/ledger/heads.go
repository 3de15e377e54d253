package ledger

import (
	"fmt"
	"slices"
	"time"
)

// tableEnded has the heads of servers that are gone, by name: what others
// took over of them is not in it, but where they ended is, so that a mark
// that knows them finds them, and so that one that comes back goes on there.
var tableEnded = NewTable("ended", Sealed)

// idleHead is how long a server that shares the store does not write before
// another takes its head over. One that runs writes every half minute
// (probeEvery). If it was only away it begins another head, and nothing is
// lost: who of the two writes first wins, whatever the clocks say.
const idleHead = 10 * time.Minute

// maxEnds is how many heads one transaction takes over: stores bound those.
const maxEnds = 16

func (v View) allEnded() (all []state, err error) {
	v.Glance().r.Scan(tableEnded.name, nil, func(key, sealed []byte) bool {
		var st state
		if st, err = v.openEnded(string(key), sealed); err == nil {
			all = append(all, st)
		}
		return err == nil
	})
	return all, err
}

func (v View) openEnded(server string, sealed []byte) (state, error) {
	plain, _, err := v.keys.open(place{tableEnded.name, []byte(server), 0}, sealed)
	if err != nil {
		return state{}, err
	}
	return decodeState(server, plain)
}

// loadState finds this server's head, and what the others' say.
func (t *Txn) loadState() error {
	l := t.View.l
	own, found, err := t.View.head(t.server)
	if err != nil {
		return err
	}
	others, err := t.View.headsBut(stateKey(t.server))
	if err != nil {
		return err
	}
	if !found && len(others) == 0 {
		return errNoHead
	}
	if !found {
		if own, err = t.begin(others[0].since); err != nil {
			return err
		}
	}
	set := t.state.set // of what begin removed
	t.state, t.others = own, others
	xor(&t.state.set, set)
	if err := l.notBehind(t.state); err != nil {
		return err
	}
	for _, other := range others {
		t.state.epoch, t.state.auditSeq = max(t.state.epoch, other.epoch), max(t.state.auditSeq, other.auditSeq)
	}
	t.state.seq++
	t.state.written = uint64(max(0, time.Now().Unix()))
	return nil
}

// begin is the first head of a server, or, of one that was taken for gone,
// one that goes on where the other ended.
func (t *Txn) begin(since uint64) (state, error) {
	own := state{server: t.server, since: since}
	if own.server == "" {
		return own, nil
	}
	sealed := t.View.r.Get(tableEnded.name, []byte(own.server))
	if sealed == nil {
		return own, nil
	}
	own, err := t.View.openEnded(own.server, sealed)
	if err != nil {
		return own, err
	}
	own.since = since
	return own, t.Remove(tableEnded, []byte(own.server))
}

// EndIdle takes over the heads of servers that do not write any more; where
// no others share the store, of all.
func (t *Txn) EndIdle() error {
	n := 0
	for _, h := range t.others {
		away := time.Duration(max(0, time.Now().Unix()-int64(h.written))) * time.Second
		if slices.Contains(t.ended, h.server) || t.View.l.shared && (h.server == "" || away < idleHead) || n == maxEnds {
			continue
		}
		n++
		if err := t.end(h.server, away); err != nil {
			return err
		}
	}
	return nil
}

// end takes over one head, as it stands now.
func (t *Txn) end(server string, away time.Duration) error {
	h, found, err := t.View.head(server)
	if err != nil || !found {
		return err
	}
	xor(&t.state.set, h.set)
	h.set = [32]byte{}
	t.ended = append(t.ended, server)
	if err := t.tx.Delete(tableMeta, stateKey(server)); err != nil {
		return err
	}
	if err := t.Put(tableEnded, []byte(server), h.encode(t.View.keys)); err != nil {
		return err
	}
	return t.Note(Event{Event: "server end", Detail: fmt.Sprintf("%s, after %d changes and %d events; it has not written for %s", server, h.seq, h.events, away.Round(time.Second))})
}
