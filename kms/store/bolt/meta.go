package bolt

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// meta is what we read of a meta page.
type meta struct {
	pageSize, root, freelist, high, txid uint64
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
