package kube

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// Bounds of the head, whose limit is a Secret's: a mebibyte.
const (
	maxBatches = 640 << 10 // bytes of all batches
	maxList    = 24        // batches, before they are carried into the shards
	maxIDs     = 32        // transactions that a server can still find its own among
)

// formHead and formShard are the first bytes of the two kinds of objects.
const (
	formHead  = 1
	formShard = 2
)

// An id names one transaction.
type id [8]byte

func newID() (i id) {
	rand.Read(i[:])
	return i
}

// A batch is what one transaction writes.
type batch struct {
	version mirror.Version
	changes []mirror.Change
}

func (b batch) size() (n int) {
	for _, c := range b.changes {
		n += len(c.Table) + rowSize(c)
	}
	return n + 16
}

// rowSize is what a row takes, encoded: lengths of four bytes each.
func rowSize(c mirror.Change) int { return len(c.Key) + len(c.Value) + 12 }

// A head is all that is not in the shards yet.
type head struct {
	resource string         // its resourceVersion
	version  mirror.Version // of the newest batch
	applied  mirror.Version // all batches up to here are in the shards
	ids      []id           // newest first
	batches  []batch        // ascending
}

// next is the head after one more transaction; nil changes are a fence.
func (h head) next(changes []mirror.Change, i id) head {
	n := head{resource: h.resource, version: h.version + 1, applied: h.applied}
	n.ids = append([]id{i}, h.ids...)
	n.ids = n.ids[:min(len(n.ids), maxIDs)]
	n.batches = append(append(n.batches, h.batches...), batch{n.version, changes})
	return n
}

// full tells whether a head with so much more must be emptied first.
func (h head) full(more int) bool {
	for _, b := range h.batches {
		more += b.size()
	}
	return more > maxBatches || len(h.batches) >= maxList
}

// encode: form, version, applied, ids, batches; integers are big endian.
func (h head) encode() []byte {
	b := []byte{formHead}
	b = binary.BigEndian.AppendUint64(b, uint64(h.version))
	b = binary.BigEndian.AppendUint64(b, uint64(h.applied))
	b = append(b, byte(len(h.ids)))
	for _, i := range h.ids {
		b = append(b, i[:]...)
	}

	b = binary.BigEndian.AppendUint32(b, uint32(len(h.batches)))
	for _, one := range h.batches {
		b = binary.BigEndian.AppendUint64(b, uint64(one.version))
		b = binary.BigEndian.AppendUint32(b, uint32(len(one.changes)))
		for _, c := range one.changes {
			b = appendField(b, []byte(c.Table))
			b = appendRow(b, c)
		}
	}

	return b
}

func appendField(b, field []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
}

// gone is the length of a value that was removed.
const gone = 1<<32 - 1

func appendRow(b []byte, c mirror.Change) []byte {
	b = appendField(b, []byte(c.Key))
	if c.Value == nil {
		return binary.BigEndian.AppendUint32(b, gone)
	}
	return appendField(b, c.Value)
}

// decodeHead reads a head; what is wrong with it is store.ErrDamaged.
func decodeHead(o secretObject) (h head, err error) {
	d := &decoder{rest: o.Data["rows"]}
	if d.byte() != formHead {
		d.bad = true
	}
	h.resource = o.Metadata.ResourceVersion
	h.version, h.applied = mirror.Version(d.uint64()), mirror.Version(d.uint64())
	for range d.byte() {
		h.ids = append(h.ids, id(d.take(len(id{}))))
	}

	for n := d.uint32(); n > 0 && !d.bad; n-- {
		b := batch{version: mirror.Version(d.uint64())}
		for m := d.uint32(); m > 0 && !d.bad; m-- {
			table := string(d.field())
			c := d.row()
			c.Table = table
			b.changes = append(b.changes, c)
		}
		h.batches = append(h.batches, b)
	}

	last := h.applied
	for _, b := range h.batches {
		d.bad = d.bad || b.version <= last && b.version > h.version
		last = b.version
	}
	return h, d.end(o)
}

// A decoder reads fields; once something is wrong all is zero.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad = d.bad || n < 0 || n > len(d.rest); d.bad {
		return make([]byte, min(max(n, 0), 8))
	}
	out := d.rest[:n:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) field() []byte  { return d.take(int(d.uint32())) }

func (d *decoder) row() (c mirror.Change) {
	c.Key = string(d.field())
	if n := d.uint32(); n != gone {
		c.Value = d.take(int(n))
	}
	return c
}

func (d *decoder) end(o secretObject) error {
	if d.bad || len(d.rest) > 0 {
		return fmt.Errorf("reading Secret %s: %w: it is none of ours", o.Metadata.Name, store.ErrDamaged)
	}
	return nil
}
