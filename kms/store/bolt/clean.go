package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"latchkey/internal/datafile"
)

// A database that was closed has its free pages in it, and beside it a file
// that says so: the next one to open it need not visit every page of a log
// that only grows to find them, nor to believe its tree. (A page of the log
// that is damaged is found when it is read.) After a crash it has to.

// Closed is the file beside a database that says that its end was clean.
func Closed(path string) string { return path + ".closed" }

// noFreelist is where a meta page has the free pages if they are not in the
// file: PgidNoFreelist of bbolt 1.5, internal/common/types.go.
const noFreelist = 0xffffffffffffffff

// closeClean writes the free pages, and says so, if the file is as we left it:
// somebody may have written over it. What fails costs the next start time, and
// no more.
func (d *DB) closeClean() (err error) {
	defer recoverDamage(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if m, err := readMeta(f, info.Size()); err != nil || m.txid != d.wrote {
		return fmt.Errorf("it is not as it was written: %w", ErrReplaced)
	}
	d.db.NoFreelistSync = false
	if err := d.db.Update(func(*bbolt.Tx) error { return nil }); err != nil {
		return err
	}
	if info, err = f.Stat(); err != nil {
		return err
	}
	seal, err := cleanSeal(f, info.Size())
	if err != nil {
		return err
	}
	return datafile.Write(Closed(d.path), []byte(seal))
}

// closedClean tells whether a database is as it was closed.
func closedClean(path string, f *os.File, size int64) bool {
	said, err := datafile.Read(Closed(path), 1024)
	if err != nil {
		return false
	}
	seal, err := cleanSeal(f, size)
	return err == nil && seal == string(said)
}

// cleanSeal is the last transaction, and the digest of the free pages' list:
// damaged, it would have pages in use written over.
func cleanSeal(r io.ReaderAt, size int64) (string, error) {
	m, err := readMeta(r, size)
	if err != nil {
		return "", err
	}
	if m.freelist == noFreelist || m.high > uint64(size)/m.pageSize {
		return "", damaged("its free pages are not in it")
	}
	list, err := newWalker(r, m).page(m.freelist, nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %x\n", m.txid, sha256.Sum256(list)), nil
}

// freePages compares the list of free pages, if it is in the file, with what
// the tree uses.
func (w *walker) freePages() error {
	if w.meta.freelist == noFreelist {
		return nil
	}
	b, err := w.page(w.meta.freelist, nil)
	if err != nil {
		return err
	}
	if flags := binary.LittleEndian.Uint16(b[8:]); flags != flagFreelist {
		return damaged("page %d is no list of free pages (%#x)", w.meta.freelist, flags)
	}
	// More than 64 Ki have their number first: Page.FreelistPageCount.
	count, ids := uint64(binary.LittleEndian.Uint16(b[10:])), b[pageHead:]
	if count == 0xffff && len(ids) >= 8 {
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damaged("the list of free pages is cut short")
	}
	for i := range count {
		id := binary.LittleEndian.Uint64(ids[8*i:])
		if id < 2 || id >= w.meta.high || !w.visit(id) {
			return damaged("page %d is in use, and in the list of free pages", id)
		}
	}
	return nil
}
