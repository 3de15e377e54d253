package ledger

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"latchkey/kms/history"
)

// A reading verifies the audit log, event by event: the chains of all
// servers, and that the segments on the way are those that were sealed.
type reading struct {
	l      *Ledger
	chains map[string]*chainReading
	ends   map[string]state // where they have to end
	sealed bool             // the ends are those of segments: what comes after is not looked at
	next   []byte           // key of the first row that was not read
	events uint64           // that were read
	left   uint64           // that are sealed and kept, and are not read
}

// A chainReading is how far one server's chain was read.
type chainReading struct {
	from, at state
	tree     history.Tree
	rest     []Segment // that it has not come to
}

// readAll begins where the removed segments end, and goes to the heads;
// readTail begins where the sealed ones end. readSealed is what readTail
// leaves out.
func (v View) readAll(st whole) (*reading, error)  { return v.reading(st, false, false) }
func (v View) readTail(st whole) (*reading, error) { return v.reading(st, true, false) }
func (v View) readSealed() (*reading, error)       { return v.reading(whole{}, false, true) }

func (v View) reading(st whole, tail, sealed bool) (*reading, error) {
	r := &reading{l: v.l, chains: map[string]*chainReading{}, ends: st.chains(), sealed: sealed}
	all, err := v.Segments()
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		c := r.chains[s.Server]
		if c == nil {
			c = &chainReading{}
			r.chains[s.Server] = c
		}
		if i > 0 && all[i-1].Server == s.Server && (all[i-1].End != s.Start || all[i-1].Number+1 != s.Number) {
			return nil, fmt.Errorf("checking the audit log: %w: %w: segment %d does not follow on segment %d", ErrUnverified, history.ErrRemoved, s.Number, all[i-1].Number)
		}
		end := s.end()
		if sealed {
			r.ends[s.Server] = end
		}
		if !tail && !s.Removed {
			c.rest = append(c.rest, s)
			continue
		}
		if c.from, c.at = end, end; !s.Removed {
			r.left += s.End - s.Start
		}
		if c.tree, err = s.tree(); err != nil {
			return nil, err
		}
		if err := r.closes(c, s); err != nil {
			return nil, err
		}
	}
	r.begin()
	return r, nil
}

// begin finds the first row that has to be read.
func (r *reading) begin() {
	first, any := uint64(0), false
	for server, end := range r.ends {
		from := state{}
		if c := r.chains[server]; c != nil {
			from = c.at
		}
		if from.events < end.events && (!any || from.auditSeq+1 < first) {
			first, any = from.auditSeq+1, true
		}
	}
	if r.next = seqKey(first); !any {
		r.next = nil
		for _, end := range r.ends {
			r.next = bytes.Clone(maxKey(r.next, seqKey(end.auditSeq+1)))
		}
	}
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// read verifies so many events more, 0 for all, and tells whether that was
// the end.
func (r *reading) read(v View, most int) (done bool, err error) {
	n, stopped := 0, false
	v.r.Scan(tableAudit, r.next, func(key, value []byte) bool {
		if most > 0 && n == most {
			r.next, stopped = bytes.Clone(key), true
			return false
		}
		n++
		err = r.event(key, value)
		return err == nil
	})
	if err == nil && !stopped {
		err = r.finish()
	}
	if err != nil {
		err = fmt.Errorf("checking the audit log: %w", err)
	}
	return !stopped, err
}

// event takes one row.
func (r *reading) event(key, value []byte) error {
	seq, server, ok := eventAt(key)
	c := r.chains[server]
	if c == nil {
		c = &chainReading{}
		r.chains[server] = c
	}
	if ok && (seq <= c.from.auditSeq || r.sealed && c.at.events >= r.ends[server].events) {
		return nil
	}
	if err := c.at.follow(seq, ok, value); err != nil {
		return err
	}
	r.events++
	if len(c.rest) == 0 {
		return nil
	}
	c.tree.Add(body(value))
	if c.at.events < c.rest[0].End {
		return nil
	}
	s := c.rest[0]
	c.rest = c.rest[1:]
	return r.closes(c, s)
}

// closes compares a tree with the checkpoint of the segment that ends there.
func (r *reading) closes(c *chainReading, s Segment) error {
	var keys []ed25519.PublicKey
	for _, k := range *r.l.keys.Load() {
		keys = append(keys, k.Public().(ed25519.PublicKey))
	}
	h, err := history.Open(s.Checkpoint, keys...)
	if errors.Is(err, history.ErrUnsigned) { // by a key that was retired: the row is sealed, and the next ones cover it
		h, err = history.Parse(s.Checkpoint)
	}
	if err != nil {
		return fmt.Errorf("%w: segment %d: %w", ErrUnverified, s.Number, err)
	}
	if h.Size != s.End || h.Size != c.tree.Size() || h.Root != c.tree.Root() {
		return fmt.Errorf("%w: %w: segment %d", ErrUnverified, history.ErrSwapped, s.Number)
	}
	return nil
}

// finish compares where the chains ended with where they have to.
func (r *reading) finish() error {
	at := walk{}
	for server, c := range r.chains {
		if at[server] = c.at; len(c.rest) > 0 {
			return fmt.Errorf("%w: %w: segment %d", ErrUnverified, history.ErrTruncated, c.rest[0].Number)
		}
	}
	return at.ends(r.ends)
}
