package etcd

import (
	"crypto/rand"
	"fmt"
	"slices"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// headVersion is the first byte of the head, and the form of all rows.
const headVersion = 1

// maxIDs bounds the ids in the head. A server looks for its own within
// seconds; more transactions than this in the meantime leave it in doubt.
const maxIDs = 32

// An id names one transaction.
type id [8]byte

func newID() (i id) {
	rand.Read(i[:])
	return i
}

// A head is the value of the head key: who wrote last, newest first.
type head struct {
	version mirror.Version // its ModRevision
	ids     []id
}

func (h head) next(i id) head {
	ids := append([]id{i}, h.ids...)
	return head{ids: ids[:min(len(ids), maxIDs)]}
}

func (h head) encode() []byte {
	out := []byte{headVersion}
	for _, i := range h.ids {
		out = append(out, i[:]...)
	}
	return out
}

func decodeHead(b []byte) (h head, err error) {
	if len(b) < 1+len(id{}) || len(b) > 1+maxIDs*len(id{}) || (len(b)-1)%len(id{}) != 0 || b[0] != headVersion {
		return h, fmt.Errorf("reading etcd: %w: its head is none of ours (%d bytes)", store.ErrDamaged, len(b))
	}
	for b = range slices.Chunk(b[1:], len(id{})) {
		h.ids = append(h.ids, id(b))
	}
	return h, nil
}

// see remembers the newest head.
func (r *remote) see(revision int64, value []byte) (head, error) {
	h, err := decodeHead(value)
	if err != nil {
		return h, err
	}
	h.version = mirror.Version(revision)
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.version > r.head.version {
		r.head = h
	}
	return h, nil
}

func (r *remote) last() head {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}
