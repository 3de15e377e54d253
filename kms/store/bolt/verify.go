package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"

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

// meta is what we read of a meta page.
type meta struct {
	pageSize, root, freelist, high, txid uint64
}

// A walker visits every page that the newest meta page reaches.
type walker struct {
	r    io.ReaderAt
	meta meta
	seen []uint64 // a bit for each page
	skip []string // tables that are not visited
}

func newWalker(r io.ReaderAt, m meta) *walker { return &walker{r: r, meta: m} }

// visit tells whether a page was not seen before.
func (w *walker) visit(id uint64) bool {
	if w.seen == nil {
		w.seen = make([]uint64, w.meta.high/64+1)
		w.seen[0] = 3 // the meta pages
	}
	bit := uint64(1) << (id % 64)
	fresh := w.seen[id/64]&bit == 0
	w.seen[id/64] |= bit
	return fresh
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
	w := newWalker(r, m)
	w.skip = skip
	if m.high < 3 || m.high > uint64(size)/m.pageSize {
		return damaged("it has %d bytes and should have %d pages of %d", size, m.high, m.pageSize)
	}
	if err := w.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	return w.freePages()
}

// readMeta takes the newer of the two meta pages that are whole.
func readMeta(r io.ReaderAt, size int64) (newest meta, err error) {
	found := false
	for _, pageSize := range []uint64{4096, 8192, 16384, 32768, 65536} {
		for page := range uint64(2) {
			m, ok := metaAt(r, int64(page*pageSize))
			if ok && m.pageSize == pageSize && (!found || m.txid > newest.txid) {
				newest, found = m, true
			}
		}
		if found {
			return newest, nil
		}
	}
	return meta{}, damaged("it begins with no page of a database (%d bytes)", size)
}

func metaAt(r io.ReaderAt, offset int64) (m meta, ok bool) {
	b := make([]byte, pageHead+metaLen)
	if _, err := r.ReadAt(b, offset); err != nil {
		return m, false
	}

	flags, b := binary.LittleEndian.Uint16(b[8:]), b[pageHead:]
	sum := fnv.New64a()
	sum.Write(b[:metaLen-8])
	if flags != flagMeta || binary.LittleEndian.Uint32(b) != boltMagic || binary.LittleEndian.Uint32(b[4:]) != boltVersion ||
		binary.LittleEndian.Uint64(b[metaLen-8:]) != sum.Sum64() {
		return m, false
	}

	return meta{
		pageSize: uint64(binary.LittleEndian.Uint32(b[8:])), root: binary.LittleEndian.Uint64(b[16:]), freelist: binary.LittleEndian.Uint64(b[32:]),
		high: binary.LittleEndian.Uint64(b[40:]), txid: binary.LittleEndian.Uint64(b[48:]),
	}, true
}

// page reads a page with its overflow, each once.
func (w *walker) page(id uint64) ([]byte, error) {
	if id >= w.meta.high {
		return nil, damaged("page %d is beyond the end", id)
	}
	head := make([]byte, pageHead)
	if _, err := w.r.ReadAt(head, int64(id*w.meta.pageSize)); err != nil {
		return nil, damaged("reading page %d: %v", id, err)
	}

	pages := uint64(binary.LittleEndian.Uint32(head[12:])) + 1
	if binary.LittleEndian.Uint64(head) != id || pages > w.meta.high-id {
		return nil, damaged("page %d has a broken head", id)
	}

	for i := range pages {
		if !w.visit(id + i) {
			return nil, damaged("page %d is used twice", id+i)
		}
	}

	b := make([]byte, pages*w.meta.pageSize)
	if _, err := w.r.ReadAt(b, int64(id*w.meta.pageSize)); err != nil {
		return nil, damaged("reading page %d: %v", id, err)
	}
	return b, nil
}

// tree visits a bucket's tree; its keys are from low on and below high.
func (w *walker) tree(id uint64, low, high []byte, depth int) error {
	if depth > maxTreeDepth {
		return damaged("the tree is too deep")
	}
	b, err := w.page(id)
	if err != nil {
		return err
	}

	switch flags := binary.LittleEndian.Uint16(b[8:]); flags {
	case flagLeaf:
		return w.leaf(b, low, high, depth)
	case flagBranch:
		return w.branch(b, low, high, depth)
	default:
		return damaged("page %d is of no kind that belongs there (%#x)", id, flags)
	}
}

func (w *walker) branch(b, low, high []byte, depth int) error {
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
	for i := range count {
		if i == 0 && low != nil && bytes.Compare(keys[0], low) < 0 || i > 0 && bytes.Compare(keys[i], keys[i-1]) <= 0 {
			return damaged("keys out of order")
		}
		if err := w.tree(children[i], keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}

	return nil
}

func (w *walker) leaf(b, low, high []byte, depth int) error {
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

		if binary.LittleEndian.Uint32(e)&1 != 0 && !slices.Contains(w.skip, string(last)) {
			if err := w.bucket(value, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket visits a bucket that stands in a leaf: inline, or by its root.
func (w *walker) bucket(value []byte, depth int) error {
	if len(value) < bucketHead {
		return damaged("a table is cut short")
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, depth+1)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead || binary.LittleEndian.Uint16(inline[8:]) != flagLeaf || depth > maxTreeDepth {
		return damaged("a table's page is cut short")
	}
	return w.leaf(inline, nil, nil, depth+1)
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
