// Package presence keeps when machines were last seen, coarsely: in memory,
// and now and then in a few rows of the store, which all servers on it share.
// It keeps as well when a server was last there to see anybody.
package presence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// A Sight is a machine that was seen.
type Sight struct {
	At   time.Time    // what its last beat has proven, in whole seconds
	From netip.Prefix // the network that it came from; zero: not known
}

// later is whichever tells more.
func later(a, b Sight) Sight {
	if b.At.After(a.At) {
		return b
	}
	return a
}

// Bounds of what is kept.
const (
	shards     = 64                  // rows for all machines
	forgetting = 90 * 24 * time.Hour // who was not seen for so long has no sight
	batchBytes = 128 << 10           // of rows in one transaction
	ahead      = time.Minute         // how far clocks of servers may differ
	maxKept    = 8                   // outages
	entrySize  = 32 + 8 + 1 + 16 + 1 // of a sight in a row, in bytes
	layout     = 1                   // of rows of sights
)

// table is by what a row is: sights of a shard, state, the tickets' key.
var table = ledger.NewTableSince("presence", ledger.Sealed, ledger.FormatPeople)

// Tables are those to register.
func Tables() []*ledger.Table { return []*ledger.Table{table} }

var (
	keyState  = []byte("state")
	keyTicket = []byte("ticket")
)

func keyShard(n int) []byte { return append([]byte("seen "), byte(n)) }

func shardOf(id kms.NodeID) int { return int(id[0]) % shards }

// A Book is what one server knows.
type Book struct {
	mu    sync.Mutex
	seen  map[kms.NodeID]Sight
	fresh map[kms.NodeID]Sight // not in the store yet
	tickets
}

// NewBook is an empty one.
func NewBook() *Book {
	return &Book{seen: map[kms.NodeID]Sight{}, fresh: map[kms.NodeID]Sight{}}
}

// Saw notes that a machine was there. What is not news is not noted.
func (b *Book) Saw(id kms.NodeID, s Sight) {
	s.At = s.At.Truncate(time.Second).UTC()
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.At.After(b.seen[id].At) {
		b.seen[id], b.fresh[id] = s, s
	}
}

// Last is when a machine was last seen, here or by another server. One of a
// clock that is ahead counts as now.
func (b *Book) Last(v ledger.View, id kms.NodeID, now time.Time) (Sight, error) {
	row, err := readShard(v, shardOf(id))
	if err != nil {
		return Sight{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return notAfter(later(b.seen[id], row[id]), now), nil
}

// All is Last of all machines.
func (b *Book) All(v ledger.View, now time.Time) (map[kms.NodeID]Sight, error) {
	b.mu.Lock()
	all := maps.Clone(b.seen)
	b.mu.Unlock()
	for n := range shards {
		row, err := readShard(v, n)
		if err != nil {
			return nil, err
		}
		for id, s := range row {
			all[id] = later(all[id], s)
		}
	}
	for id, s := range all {
		all[id] = notAfter(s, now)
	}
	return all, nil
}

func notAfter(s Sight, now time.Time) Sight {
	if s.At.After(now) {
		s.At = now
	}
	return s
}

// Any tells whether a beat was ever taken here, or is to be written.
func (b *Book) Any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen) > 0
}

// take gives what is to be written, and forgets who was not seen for long.
func (b *Book) take(now time.Time) (byShard map[int]map[kms.NodeID]Sight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byShard = map[int]map[kms.NodeID]Sight{}
	for id, s := range b.fresh {
		n := shardOf(id)
		if byShard[n] == nil {
			byShard[n] = map[kms.NodeID]Sight{}
		}
		byShard[n][id] = s
	}
	b.fresh = map[kms.NodeID]Sight{}
	maps.DeleteFunc(b.seen, func(_ kms.NodeID, s Sight) bool { return now.Sub(s.At) > forgetting })
	return byShard
}

// giveBack is for what could not be written.
func (b *Book) giveBack(byShard map[int]map[kms.NodeID]Sight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, sights := range byShard {
		for id, s := range sights {
			b.fresh[id] = later(b.fresh[id], s)
		}
	}
}

// Write writes what was seen since the last time, and that there is a server:
// update runs a transaction. Every is how long it takes until it is called
// again.
func (b *Book) Write(update func(func(*ledger.Txn) error) error, now time.Time, every time.Duration) error {
	left := b.take(now)
	first := true
	for first || len(left) > 0 {
		var written []int
		err := update(func(t *ledger.Txn) error {
			written = nil
			if first {
				if err := stillHere(t, now, every); err != nil {
					return err
				}
			}
			size := 0
			for _, n := range slices.Sorted(maps.Keys(left)) {
				if size > batchBytes {
					break
				}
				row, err := mergeShard(t, n, left[n], now)
				if err != nil {
					return err
				}
				size += row
				written = append(written, n)
			}
			return nil
		})
		if err != nil {
			b.giveBack(left)
			return fmt.Errorf("writing who was seen: %w", err)
		}
		first = false
		for _, n := range written {
			delete(left, n)
		}
	}
	return nil
}

// mergeShard adds sights to a row, and tells how large it is. A time that is
// ahead of now was a wrong clock's, and gives way.
func mergeShard(t *ledger.Txn, n int, sights map[kms.NodeID]Sight, now time.Time) (bytes int, err error) {
	row, err := readShard(t.View, n)
	if err != nil {
		return 0, err
	}
	for id, s := range sights {
		old := row[id]
		if old.At.After(now.Add(ahead)) {
			old = Sight{}
		}
		row[id] = later(old, s)
	}
	maps.DeleteFunc(row, func(_ kms.NodeID, s Sight) bool { return now.Sub(s.At) > forgetting })
	plain := encodeShard(row)
	return len(plain), t.Put(table, keyShard(n), plain)
}

// encodeShard is a row: its layout, then sights by node, each with the time
// in Unix seconds, the length of a prefix or 255, and its address.
func encodeShard(row map[kms.NodeID]Sight) []byte {
	out := make([]byte, 0, 1+len(row)*entrySize)
	out = append(out, layout)
	for _, id := range slices.SortedFunc(maps.Keys(row), func(a, b kms.NodeID) int { return bytes.Compare(a[:], b[:]) }) {
		s := row[id]
		out = append(out, id[:]...)
		out = binary.BigEndian.AppendUint64(out, uint64(s.At.Unix()))
		out = appendPrefix(out, s.From)
	}
	return out
}

func readShard(v ledger.View, n int) (map[kms.NodeID]Sight, error) {
	row := map[kms.NodeID]Sight{}
	plain, found, err := v.Get(table, keyShard(n))
	if err != nil || !found {
		return row, err
	}
	if len(plain) == 0 || plain[0] != layout || (len(plain)-1)%entrySize != 0 {
		return nil, fmt.Errorf("reading who was seen: %w: %d bytes, or another layout than %d", ledger.ErrUnverified, len(plain), layout)
	}
	for b := plain[1:]; len(b) > 0; b = b[entrySize:] {
		row[kms.NodeID(b[:32])] = Sight{time.Unix(int64(binary.BigEndian.Uint64(b[32:])), 0).UTC(), readPrefix(b[40:entrySize])}
	}
	return row, nil
}

// appendPrefix writes a network in 18 bytes: its length, 255 for none; its
// address as that of IPv6; and whether it is one of IPv4.
func appendPrefix(out []byte, p netip.Prefix) []byte {
	if !p.IsValid() {
		return append(out, append(bytes.Repeat([]byte{0}, 17), 255)...)
	}
	a, four := p.Addr().As16(), byte(0)
	if p.Addr().Is4() {
		four = 4
	}
	return append(append(append(out, four), a[:]...), byte(p.Bits()))
}

func readPrefix(b []byte) netip.Prefix {
	if b[17] == 255 {
		return netip.Prefix{}
	}
	a := netip.AddrFrom16([16]byte(b[1:17]))
	if b[0] == 4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(b[17])).Masked()
}

// Every is how often what was seen is to be written where a machine may be
// away for so long; 0: for any time.
func Every(shortest time.Duration) time.Duration {
	if shortest == 0 {
		return 10 * time.Minute
	}
	return min(max(shortest/4, policy.MinPresence/4), 10*time.Minute)
}
