// Package history is the form in which a key server's audit log ends: as a
// Merkle tree over its events (RFC 6962, section 2.1), whose heads are signed
// checkpoints (C2SP tlog-checkpoint) that others can cosign, and as files of
// sealed segments. It knows no store and no key of a database.
package history

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// A Hash is of SHA-256, written in Base64.
type Hash tlog.Hash

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(tlog.Hash(h).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(b []byte) error {
	parsed, err := tlog.ParseHash(string(b))
	*h = Hash(parsed)
	return err
}

// A Tree is a Merkle tree of which only the right edge is kept: the roots of
// its complete subtrees, the largest first. That is what more leaves, and the
// root, need.
type Tree struct {
	size uint64
	edge []tlog.Hash
}

// Grown is the tree of so many leaves with this edge.
func Grown(size uint64, edge []Hash) (Tree, error) {
	if len(edge) != bits.OnesCount64(size) || size >= 1<<62 {
		return Tree{}, fmt.Errorf("%d leaves do not have an edge of %d hashes", size, len(edge))
	}
	t := Tree{size: size}
	for _, h := range edge {
		t.edge = append(t.edge, tlog.Hash(h))
	}
	return t, nil
}

// Size is how many leaves the tree has.
func (t *Tree) Size() uint64 { return t.size }

// Edge are the roots of the complete subtrees, the largest first.
func (t *Tree) Edge() (edge []Hash) {
	for _, h := range t.edge {
		edge = append(edge, Hash(h))
	}
	return edge
}

// Add adds a leaf.
func (t *Tree) Add(event []byte) {
	h := tlog.RecordHash(event)
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h, t.edge = tlog.NodeHash(t.edge[last], h), t.edge[:last]
	}
	t.edge = append(t.edge, h)
	t.size++
}

// Root is the tree's hash.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	h := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.edge[i], h)
	}
	return h
}

// A Span is the part of a tree that is known from one size on: it proves what
// is within, and that what was there at that size is a beginning of it.
type Span struct {
	size  int64
	known map[int64]tlog.Hash // by tlog.StoredHashIndex
}

// From is the span that begins at the end of a tree.
func From(t Tree) *Span {
	s := &Span{size: int64(t.size), known: map[int64]tlog.Hash{}}
	low := int64(0)
	for i, level := 0, 62; level >= 0; level-- {
		if t.size&(1<<level) != 0 {
			s.known[tlog.StoredHashIndex(level, low>>level)] = t.edge[i]
			low += 1 << level
			i++
		}
	}
	return s
}

// Add adds a leaf.
func (s *Span) Add(event []byte) error {
	hashes, err := tlog.StoredHashes(s.size, event, s)
	if err != nil {
		return err
	}
	at := tlog.StoredHashIndex(0, s.size)
	for i, h := range hashes {
		s.known[at+int64(i)] = h
	}
	s.size++
	return nil
}

// ReadHashes implements tlog.HashReader.
func (s *Span) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		h, known := s.known[at]
		if !known {
			level, n := tlog.SplitStoredHashIndex(at)
			return nil, fmt.Errorf("the hash of events %d to %d is not known: they were removed", n<<level, (n+1)<<level-1)
		}
		hashes[i] = h
	}
	return hashes, nil
}

// Inclusion proves that the span's tree has the event of an index.
func (s *Span) Inclusion(index uint64) ([]tlog.Hash, error) {
	return tlog.ProveRecord(s.size, int64(index), s)
}

// Consistency proves that the span's tree begins with the one of a size.
func (s *Span) Consistency(size uint64) ([]tlog.Hash, error) {
	if size == 0 || int64(size) == s.size {
		return nil, nil
	}
	return tlog.ProveTree(s.size, int64(size), s)
}
