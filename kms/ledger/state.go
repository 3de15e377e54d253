package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"latchkey/kms/store"
)

// keyState is the row of the head of the only server; those of servers that
// share a store are below it, by name.
var keyState = []byte("state")

// A state is a server's head: sealed, one record, and carried on by each of
// its transactions, which moves no other server's. What the store holds as a
// whole is the sum of the heads: the digest over all records is the XOR of
// theirs, and the audit log is a chain of each.
type state struct {
	server    string   // "" where there is only one; else eight hex digits
	since     uint64   // epoch in which the database was restored
	epoch     uint64   // rises with every change of what is to be given to whom; the highest that the server has seen
	seq       uint64   // its transactions
	set       [32]byte // its part of the digest over all records
	events    uint64   // its part of the audit log
	auditSeq  uint64   // the highest sequence number that it has seen
	auditHash [32]byte // of its last event
	written   uint64   // when, in seconds since 1970 by its wall clock

	// From format 3 on:
	known  uint32 // the newest data key that the server has
	sealer uint32 // the data key with which it seals
	seals  uint64 // by it with that key
}

// serverSize is the length of a server's name, in bytes.
const serverSize = 4

func stateKey(server string) []byte {
	if server == "" {
		return keyState
	}
	return []byte(string(keyState) + "/" + server)
}

// serverOf is the server whose head a row of tableMeta is.
func serverOf(key []byte) (server string, is bool) {
	if bytes.Equal(key, keyState) {
		return "", true
	}
	name, below := bytes.CutPrefix(key, append(bytes.Clone(keyState), '/'))
	if raw, err := hex.DecodeString(string(name)); !below || err != nil || len(raw) != serverSize {
		return "", false
	}
	return string(name), true
}

// encode writes a head as the format of the store has it.
func (s state) encode(v *vault) []byte {
	b := binary.BigEndian.AppendUint64(nil, s.since)
	b = binary.BigEndian.AppendUint64(b, s.epoch)
	b = binary.BigEndian.AppendUint64(b, s.seq)
	b = append(b, s.set[:]...)
	b = binary.BigEndian.AppendUint64(b, s.events)
	b = binary.BigEndian.AppendUint64(b, s.auditSeq)
	b = append(b, s.auditHash[:]...)
	b = binary.BigEndian.AppendUint64(b, s.written)
	if v.row.first() {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, s.known)
	b = binary.BigEndian.AppendUint32(b, s.sealer)
	return binary.BigEndian.AppendUint64(b, s.seals)
}

// The length of a head, in bytes: six numbers and two digests; from format 3
// on three numbers more.
const (
	firstState = 6*8 + 2*32
	stateSize  = firstState + 4 + 4 + 8
)

func decodeState(server string, b []byte) (s state, err error) {
	if len(b) != stateSize && len(b) != firstState {
		return s, fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	s = state{
		server: server, since: binary.BigEndian.Uint64(b), epoch: binary.BigEndian.Uint64(b[8:]), seq: binary.BigEndian.Uint64(b[16:]),
		set: [32]byte(b[24:56]), events: binary.BigEndian.Uint64(b[56:]), auditSeq: binary.BigEndian.Uint64(b[64:]),
		auditHash: [32]byte(b[72:104]), written: binary.BigEndian.Uint64(b[104:]),
	}
	if more := b[firstState:]; len(more) > 0 {
		s.known, s.sealer, s.seals = binary.BigEndian.Uint32(more), binary.BigEndian.Uint32(more[4:]), binary.BigEndian.Uint64(more[8:])
	}
	return s, nil
}

// openState opens a server's head.
func (v View) openState(server string, sealed []byte) (state, error) {
	plain, epoch, err := v.keys.open(place{tableMeta, stateKey(server), 0}, sealed)
	if err != nil {
		return state{}, err
	}
	st, err := decodeState(server, plain)
	if err == nil && st.epoch != epoch {
		err = fmt.Errorf("reading the state record: %w", ErrUnverified)
	}
	return st, err
}

func (t *Txn) sealState() []byte {
	s := t.state
	return t.View.keys.seal(place{tableMeta, stateKey(s.server), 0}, s.epoch, s.encode(t.View.keys))
}

// Glance is a view of the same rows to which the transaction does not hold:
// others may change what it reads before that is written. It is for what only
// bounds, or cleans up.
func (v View) Glance() View { return View{store.Glance(v.r), v.l, v.keys} }

// head reads one server's head; false means that there is none.
func (v View) head(server string) (state, bool, error) {
	sealed := v.r.Get(tableMeta, stateKey(server))
	if sealed == nil {
		return state{}, false, nil
	}
	st, err := v.openState(server, sealed)
	return st, err == nil, err
}

// heads reads those of all servers, by name.
func (v View) heads() (all []state, err error) {
	if all, err = v.headsBut(nil); err == nil && len(all) == 0 {
		err = errNoHead
	}
	return all, err
}

var errNoHead = fmt.Errorf("reading the state record: %w: there is none", ErrUnverified)

// headsBut leaves one out.
func (v View) headsBut(own []byte) (all []state, err error) {
	v.Glance().r.Scan(tableMeta, keyState, func(key, sealed []byte) bool {
		server, is := serverOf(key)
		if !is || bytes.Equal(key, own) {
			return bytes.HasPrefix(key, keyState)
		}
		var st state
		if st, err = v.openState(server, sealed); err == nil {
			all = append(all, st)
		}
		return err == nil
	})
	return all, err
}

// A whole is what the heads of all servers say together.
type whole struct {
	state
	heads []state
	ended []state // of servers that are gone; without what others have taken over
}

// readState reads what the store holds as a whole, as of the heads.
func (v View) readState() (w whole, err error) {
	if w.heads, err = v.heads(); err != nil {
		return w, err
	}
	if w.ended, err = v.allEnded(); err != nil {
		return w, err
	}
	for _, h := range w.heads {
		w.since, w.epoch, w.auditSeq = max(w.since, h.since), max(w.epoch, h.epoch), max(w.auditSeq, h.auditSeq)
		w.seq, w.events = w.seq+h.seq, w.events+h.events
		xor(&w.set, h.set)
	}
	for _, h := range w.ended {
		w.events += h.events
	}
	w.auditHash = w.hash()
	return w, nil
}

// chains are where the chains of all servers that ever wrote end.
func (w whole) chains() map[string]state {
	all := map[string]state{}
	for _, h := range append(slices.Clone(w.ended), w.heads...) {
		all[h.server] = h
	}
	return all
}

// hash stands for the ends of all chains: of one, it is that end.
func (w whole) hash() [32]byte {
	all := append(slices.Clone(w.heads), w.ended...)
	if len(all) == 1 {
		return all[0].auditHash
	}
	slices.SortFunc(all, func(a, b state) int { return cmp.Compare(a.server, b.server) })
	h := sha256.New()
	h.Write([]byte("lk1/audit-heads"))
	for _, s := range all {
		h.Write(append([]byte{byte(len(s.server))}, s.server...))
		h.Write(binary.BigEndian.AppendUint64(nil, s.events))
		h.Write(s.auditHash[:])
	}
	return [32]byte(h.Sum(nil))
}

func xor(to *[32]byte, with [32]byte) {
	for i := range to {
		to[i] ^= with[i]
	}
}
