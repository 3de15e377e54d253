package server_test

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
	"latchkey/kms/store"
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

// D7: 100,000 made-up EKs leave 1,000 rows and 1,000 events. One that comes
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
		f := newKMS(t, inMemory, func(f *fixture) {
			f.wrap = func(st store.Store) store.Store {
				m.Store = st
				return m
			}
			f.dir = memoryDir(t) // the disk's pace is no matter here
		})

		node := f.approved()
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

		if codes[kms.Pending] != 1000 || codes[kms.TableFull] != all-1000 {
			t.Errorf("answers %v, want 1,000 pending and the rest pending-full", codes)
		}
		if n := f.count(); n != 1001 {
			t.Errorf("%d rows, want 1,000 and the approved one", n)
		}

		if n := f.eventCount() - before; n != 1000 {
			t.Errorf("%d events, want 1,000", n)
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
		f.mustGet(node)
	})
}

// strangers asks many at once, so that they share the writes to the disk.
func (f *fixture) strangers(n int, codes map[kms.Status]int) {
	var mu sync.Mutex
	var group sync.WaitGroup
	var next atomic.Int64
	for range 500 {
		group.Go(func() {
			for next.Add(1) <= int64(n) {
				status, err := f.Stranger(ctx)
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
