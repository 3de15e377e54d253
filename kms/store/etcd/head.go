package etcd

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// headVersion is the first byte of a slot's head.
const headVersion = 2

// maxIDs bounds the ids in the head. A server looks for its own within
// seconds; more transactions than this in the meantime leave it in doubt.
const maxIDs = 32

// An id names one transaction.
type id [8]byte

func newID() (i id) {
	crand.Read(i[:])
	return i
}

// A head is the value of a server's slot: its last transactions, newest
// first.
type head struct {
	version mirror.Version // its ModRevision; 0: nobody has written there
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

// see remembers the newest head of this server's slot.
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

// slots is how many servers can write with none in the way of another. Each
// transaction moves the slot of its server, and so tells what was written by
// a key server, and in which order. Two that took one slot are as safe, and
// slower.
const slots = 64

// choose takes a slot that nobody uses, or else the one that was not used
// for longest.
func (r *remote) choose(all []*mvccpb.KeyValue) error {
	used := map[string]int64{}
	for _, kv := range all {
		used[string(kv.Key)] = kv.ModRevision
	}
	best, oldest := "", int64(-1)
	for _, i := range rand.Perm(slots) {
		key := fmt.Sprintf("%sslot/%02d", r.prefix, i)
		if at := used[key]; oldest < 0 || at < oldest {
			best, oldest = key, at
		}
	}
	r.slot = best
	for _, kv := range all {
		if string(kv.Key) == best {
			_, err := r.see(kv.ModRevision, kv.Value)
			return err
		}
	}
	return nil
}

// newest is the version of the last transaction of any server.
func newest(all []*mvccpb.KeyValue) (v mirror.Version) {
	for _, kv := range all {
		v = max(v, mirror.Version(kv.ModRevision))
	}
	return v
}
