package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"latchkey/kms/store"
)

// bbolt maps its file into memory and believes it: a damaged page is a
// fault in one of its own goroutines, which nobody can recover. So the tree
// is walked here first, by reading. The format is that of bbolt 1.5,
// internal/common/{meta,page}.go; integers are in the machine's order,
// which is little endian wherever we run.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04

	flagFreelist = 0x10

	pageHead   = 16 // id, flags, count, overflow
	elementLen = 16 // of branches and leaves alike
	metaLen    = 64
	bucketHead = 16 // root, sequence

	maxTreeDepth = 32
)

// A walker visits every page that the newest meta page reaches, several at
// once.
type walker struct {
	r    io.ReaderAt
	meta meta
	seen []uint64      // a bit for each page
	skip []string      // tables that are not visited
	free chan struct{} // a place for each further trail that may begin
}

func newWalker(r io.ReaderAt, m meta) *walker {
	w := &walker{r: r, meta: m, seen: make([]uint64, m.high/64+1), free: make(chan struct{}, runtime.GOMAXPROCS(0)-1)}
	w.seen[0] = 3 // the meta pages
	return w
}

// A trail is one way down the tree, with the pages that are on it.
type trail struct {
	*walker
	pages [maxTreeDepth + 2][]byte // by depth
}

// visit tells whether a page was not seen before.
func (w *walker) visit(id uint64) bool {
	bit := uint64(1) << (id % 64)
	return atomic.OrUint64(&w.seen[id/64], bit)&bit == 0
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{store.ErrDamaged}, args...)...)
}

// verify walks the tree in a file of so many bytes, but for some tables.
func verify(r io.ReaderAt, size int64, skip []string) error {
	m, err := readMeta(r, size)
	if err != nil {
		return err
	}
	if m.high < 3 || m.high > uint64(size)/m.pageSize {
		return damaged("it has %d bytes and should have %d pages of %d", size, m.high, m.pageSize)
	}
	w := newWalker(r, m)
	w.skip = skip
	if err := (&trail{walker: w}).tree(m.root, nil, nil, 0, true); err != nil {
		return err
	}
	return w.freePages()
}

// page reads a page with its overflow, each once, into b if that is large
// enough.
func (w *walker) page(id uint64, b []byte) ([]byte, error) {
	if id >= w.meta.high {
		return nil, damaged("page %d is beyond the end", id)
	}
	size := int(w.meta.pageSize)
	b = slices.Grow(b[:0], size)[:size]
	if _, err := w.r.ReadAt(b, int64(id*w.meta.pageSize)); err != nil {
		return nil, damaged("reading page %d: %v", id, err)
	}

	pages := uint64(binary.LittleEndian.Uint32(b[12:])) + 1
	if binary.LittleEndian.Uint64(b) != id || pages > w.meta.high-id {
		return nil, damaged("page %d has a broken head", id)
	}

	for i := range pages {
		if !w.visit(id + i) {
			return nil, damaged("page %d is used twice", id+i)
		}
	}

	if rest := int(pages-1) * size; rest > 0 {
		b = slices.Grow(b, rest)[:size+rest]
		if _, err := w.r.ReadAt(b[size:], int64(id*w.meta.pageSize)+int64(size)); err != nil {
			return nil, damaged("reading page %d: %v", id, err)
		}
	}
	return b, nil
}

// tree visits a bucket's tree; its keys are from low on and below high.
func (t *trail) tree(id uint64, low, high []byte, depth int, top bool) (err error) {
	if depth > maxTreeDepth {
		return damaged("the tree is too deep")
	}
	b, err := t.page(id, t.pages[depth])
	if err != nil {
		return err
	}
	t.pages[depth] = b

	switch flags := binary.LittleEndian.Uint16(b[8:]); flags {
	case flagLeaf:
		return t.leaf(b, low, high, depth)
	case flagBranch:
		return t.branch(b, low, high, depth, top)
	default:
		return damaged("page %d is of no kind that belongs there (%#x)", id, flags)
	}
}

// branch visits what is below a page: at the top of a table on as many trails
// as there are places.
func (t *trail) branch(b, low, high []byte, depth int, top bool) error {
	count := int(binary.LittleEndian.Uint16(b[10:]))
	if count == 0 {
		return damaged("a branch without leaves")
	}

	keys, children := make([][]byte, count+1), make([]uint64, count)
	for i := range count {
		e, err := element(b, i)
		if err != nil {
			return err
		}
		children[i] = binary.LittleEndian.Uint64(e[8:])
		keys[i], err = cut(e, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]))
		if err != nil {
			return err
		}
	}

	keys[count] = high
	var beside sync.WaitGroup
	defer beside.Wait() // they read the keys, which are on this page
	failed := make([]error, count)
	for i := range count {
		if i == 0 && low != nil && bytes.Compare(keys[0], low) < 0 || i > 0 && bytes.Compare(keys[i], keys[i-1]) <= 0 {
			return damaged("keys out of order")
		}
		if top && t.take() {
			beside.Go(func() {
				defer t.give()
				failed[i] = (&trail{walker: t.walker}).tree(children[i], keys[i], keys[i+1], depth+1, false)
			})
			continue
		}
		if err := t.tree(children[i], keys[i], keys[i+1], depth+1, false); err != nil {
			return err
		}
	}
	beside.Wait()
	return errors.Join(failed...)
}

// take takes a place for a further trail, if there is one.
func (w *walker) take() bool {
	select {
	case w.free <- struct{}{}:
		return true
	default:
		return false
	}
}

func (w *walker) give() { <-w.free }

func (t *trail) leaf(b, low, high []byte, depth int) error {
	last := low
	for i := range int(binary.LittleEndian.Uint16(b[10:])) {
		e, err := element(b, i)
		if err != nil {
			return err
		}

		pos, keyLen, valueLen := binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		key, err := cut(e, pos, keyLen)
		if err != nil {
			return err
		}

		if c := bytes.Compare(key, last); last != nil && (c < 0 || c == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
			return damaged("keys out of order")
		}
		last = key
		value, err := cut(e, pos+keyLen, valueLen)
		if err != nil {
			return err
		}

		if binary.LittleEndian.Uint32(e)&1 != 0 && !slices.Contains(t.skip, string(last)) {
			if err := t.bucket(value, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket visits a bucket that stands in a leaf: inline, or by its root.
func (t *trail) bucket(value []byte, depth int) error {
	if len(value) < bucketHead {
		return damaged("a table is cut short")
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return t.tree(root, nil, nil, depth+1, true)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead || binary.LittleEndian.Uint16(inline[8:]) != flagLeaf || depth > maxTreeDepth {
		return damaged("a table's page is cut short")
	}
	return t.leaf(inline, nil, nil, depth+1)
}

// element is the i-th element with all that follows it: keys and values are
// at offsets from the element.
func element(b []byte, i int) ([]byte, error) {
	at := pageHead + i*elementLen
	if at+elementLen > len(b) {
		return nil, damaged("a page has more elements than fit")
	}
	return b[at:], nil
}

func cut(e []byte, pos, n uint32) ([]byte, error) {
	if end := uint64(pos) + uint64(n); end > uint64(len(e)) || pos < elementLen {
		return nil, damaged("a key or value is beyond its page")
	}
	return e[pos : pos+n : pos+n], nil
}
