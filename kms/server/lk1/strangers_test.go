package lk1_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/rulebook"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// meter counts what is read and written in transactions.
type meter struct {
	store.Store
	steps atomic.Int64 // keys read, rows passed, keys written
}

func (m *meter) Update(ctx context.Context, f func(store.Tx) error) error {
	return m.Store.Update(ctx, func(tx store.Tx) error { return f(metered{tx, m}) })
}

type metered struct {
	store.Tx
	m *meter
}

func (t metered) Get(table string, key []byte) []byte {
	t.m.steps.Add(1)
	return t.Tx.Get(table, key)
}

func (t metered) Scan(table string, from []byte, f func(key, value []byte) bool) {
	t.Tx.Scan(table, from, func(key, value []byte) bool {
		t.m.steps.Add(1)
		return f(key, value)
	})
}

func (t metered) Put(table string, key, value []byte) error {
	t.m.steps.Add(1)
	return t.Tx.Put(table, key, value)
}

// D7: 100,000 made-up EKs leave 1,000 rows and about as many events. One that comes
// when the table is full costs a few steps, the last as many as the first;
// neither memory nor database grows with them.
func TestHundredThousandStrangers(t *testing.T) {
	const batch = 2_000
	all := 100_000
	if raced {
		all = 10_000
	}

	synctest.Test(t, func(t *testing.T) {
		m := &meter{}
		f := newService(t, m)
		before := f.eventCount()
		codes := map[kms.Status]int{}
		var costs, heaps, sizes []int64

		for range all / batch {
			m.steps.Store(0)
			f.strangers(batch, codes)
			costs = append(costs, m.steps.Load()/batch)
			heaps, sizes = append(heaps, heap()), append(sizes, f.size())
			time.Sleep(10 * time.Second) // 200 strangers in a second, for 500 seconds
		}

		// A few more than 1,000 get in: who comes from a source that has fewer
		// rows takes the place of one of a source that has more.
		if got := codes[kms.Pending]; got < 1000 || got > 1200 || codes[kms.TableFull] != all-got {
			t.Errorf("answers %v, want 1,000 to 1,200 pending and the rest pending-full", codes)
		}
		if n := f.count(); n != 1000 {
			t.Errorf("%d rows, want 1,000", n)
		}

		if n := f.eventCount() - before; n < 1000 || n > 1200 {
			t.Errorf("%d events, want 1,000 to 1,200", n)
		}
		first, last := 1, len(costs)-1 // the table fills in the first batch
		t.Logf("steps of a stranger %d, then %d; heap %d KiB, then %d; database %d KiB, then %d",
			costs[first], costs[last], heaps[first]>>10, heaps[last]>>10, sizes[first]>>10, sizes[last]>>10)

		if costs[last] > costs[first]+2 || costs[first] > 30 {
			t.Errorf("a stranger costs %d steps at first and %d in the end", costs[first], costs[last])
		}
		if grown := heaps[last] - heaps[first]; grown > 8<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}

		if sizes[last] > 2*sizes[first] {
			t.Errorf("the database grew from %d to %d bytes", sizes[first], sizes[last])
		}
	})
}

// strangers asks many at once, so that they share the writes to the disk.
func (f *fixture) strangers(n int, codes map[kms.Status]int) {
	var mu sync.Mutex
	var group sync.WaitGroup
	var next atomic.Int64
	for range 500 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				status, err := f.Stranger(f.t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 200)}).String())
				if err != nil {
					f.t.Error(err)
				}
				mu.Lock()
				codes[status]++
				mu.Unlock()
			}
		})
	}

	group.Wait()
}

func (f *fixture) size() int64 {
	f.t.Helper()
	info, err := os.Stat(f.path())
	if err != nil {
		f.t.Fatal(err)
	}
	return info.Size()
}

func (f *fixture) eventCount() uint64 {
	f.t.Helper()
	c, err := f.Check()
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Events
}

func (f *fixture) count() int {
	f.t.Helper()
	nodes, err := f.Nodes()
	if err != nil {
		f.t.Fatal(err)
	}
	return len(nodes)
}

func (f *fixture) path() string { return filepath.Join(f.dir, "kms.db") }

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A fixture is a service on a database of its own, without a network.
type fixture struct {
	t   testing.TB
	dir string
	*ledger.Ledger
	*lk1.Service
}

// newService makes one whose transactions m counts. The database is in
// memory: the disk's pace is no matter here.
func newService(t *testing.T, m *meter) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: memoryDir(t)}
	rows, wrapping := lk1.NewRows(), secret.Random(32)
	db, err := bolt.Open(f.path(), true, ledger.Names(append(rows.Tables(), rulebook.Tables()...)))
	if err != nil {
		t.Fatal(err)
	}
	mark := ledger.MarkFile(filepath.Join(f.dir, "epoch"))
	if _, err := ledger.Initialize(t.Context(), db, wrapping, mark); err != nil {
		t.Fatal(err)
	}

	m.Store = db
	f.Ledger, err = ledger.Open(ledger.Config{Store: m, Wrapping: wrapping, Mark: mark, Tables: append(rows.Tables(), rulebook.Tables()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	f.Service = lk1.New(lk1.Config{
		Ledger: f.Ledger, Enroll: fleet.Approve, Book: rulebook.New(nil), Work: attest.NewWorkers(0), Counted: (&metrics.Set{}).Exchanges(), Log: slog.New(slog.DiscardHandler),
	}, rows)
	return f
}

// memoryDir is a folder in memory where there is one.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "latchkey")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// D13, faults/kms.md M5: one host that keeps asking as many machines does
// not keep a good one out, not even while it goes on.
func TestOneHostDoesNotFillTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newService(t, &meter{})
		ask := func(from string) kms.Status {
			status, err := f.Stranger(f.t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			return status
		}

		bad := 0
		for range 400 {
			if ask("2001:db8::1") == kms.Pending {
				bad++
			}
		}
		if bad != 250 {
			t.Errorf("one host has %d rows, want 250", bad)
		}
		if got := ask("2001:db8::2"); got != kms.TableFull {
			t.Errorf("another address of its /64 got %s, want pending-full", got.Code())
		}

		for i := range 1000 { // four hosts fill the table
			ask(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 4)}).String())
		}
		if n := f.count(); n != 1000 {
			t.Fatalf("%d rows, want 1,000", n)
		}
		for i := range 20 {
			ask("192.0.2.1")
			if got := ask(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()); got != kms.Pending {
				t.Errorf("a good machine got %s while four hosts hold the table, want pending", got.Code())
			}
			time.Sleep(time.Second)
		}
		if n := f.count(); n != 1000 {
			t.Errorf("%d rows, want 1,000", n)
		}
	})
}
