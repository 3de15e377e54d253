// Package storetest is what every store of a KMS must do. A store passes
// all of it, or it is none.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"latchkey/kms/store"
)

// Tables that a store under test must have. Log is one that a store may
// treat as a log: long, and rarely read.
const (
	A   = "a"
	B   = "b"
	Log = "log"
)

// Tables lists them.
func Tables() []string { return []string{A, B, Log} }

// A Place is where one store stands, made and empty.
type Place struct {
	Open   func() (store.Store, error)
	Damage func(testing.TB)                   // breaks its structure while nobody has it open
	Accept func(backup []byte) (Place, error) // a place that holds a backup
	Shared bool                               // several may have it open at once
	Large  int                                // bytes of a value near the store's limit
}

// Run runs the suite. Each test gets a place of its own.
func Run(t *testing.T, make func(testing.TB) Place) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"rows are there after reopening", (*suite).reopen},
		{"an update is whole or not there", (*suite).atomic},
		{"a view is one state", (*suite).isolated},
		{"scans are in order and end when told", (*suite).scans},
		{"an update reads what it wrote", (*suite).ownWrites},
		{"no update is lost", (*suite).counters},
		{"what one read and another wrote is read again", (*suite).writeSkew},
		{"a range that was read counts as read", (*suite).phantoms},
		{"large values", (*suite).large},
		{"many keys", (*suite).many},
		{"a cancelled update leaves nothing", (*suite).cancelled},
		{"a panic ends one update only", (*suite).panics},
		{"a backup is one whole state", (*suite).backup},
		{"a damaged store is refused", (*suite).damaged},
		{"a closed store says so", (*suite).closed},
		{"as a model says", (*suite).model},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, place: make(t)}
			s.db = s.open()
			test.run(s)
		})
	}
}

type suite struct {
	*testing.T
	place Place
	db    store.Store
}

var ctx = context.Background()

func (s *suite) open() store.Store {
	s.Helper()
	db, err := s.place.Open()
	if err != nil {
		s.Fatalf("opening: %v", err)
	}
	s.Cleanup(func() { db.Close() })
	return db
}

func (s *suite) update(db store.Store, f func(store.Tx) error) {
	s.Helper()
	if err := db.Update(ctx, f); err != nil {
		s.Fatalf("Update = %v", err)
	}
}

func (s *suite) put(table, key, value string) {
	s.Helper()
	s.update(s.db, func(tx store.Tx) error { return tx.Put(table, []byte(key), []byte(value)) })
}

// rows is a table as text, from a key on.
func rows(r store.Reader, table, from string) (out string) {
	r.Scan(table, []byte(from), func(key, value []byte) bool {
		out += string(key) + "=" + string(value) + " "
		return true
	})
	return out
}

func (s *suite) want(db store.Store, table, want string) {
	s.Helper()
	err := db.View(func(r store.Reader) error {
		if got := rows(r, table, ""); got != want {
			s.Errorf("table %s is %q, want %q", table, got, want)
		}
		return nil
	})
	if err != nil {
		s.Fatalf("View = %v", err)
	}
}

func (s *suite) reopen() {
	s.put(A, "k", "1")
	s.put(A, "k", "2")
	s.put(B, "k", "other")
	s.put(Log, "\x00\x00\xff", "binary")
	s.put(A, "gone", "3")
	s.update(s.db, func(tx store.Tx) error { return tx.Delete(A, []byte("gone")) })
	s.update(s.db, func(tx store.Tx) error { return tx.Delete(A, []byte("never there")) })
	if err := s.db.Close(); err != nil {
		s.Fatal(err)
	}
	db := s.open()
	s.want(db, A, "k=2 ")
	s.want(db, B, "k=other ")
	s.want(db, Log, "\x00\x00\xff=binary ")
}

var errOnPurpose = errors.New("on purpose")

func (s *suite) atomic() {
	s.put(A, "k", "before")
	err := s.db.Update(ctx, func(tx store.Tx) error {
		tx.Put(A, []byte("k"), []byte("after"))
		tx.Put(B, []byte("k"), []byte("after"))
		tx.Delete(A, []byte("k"))
		return errOnPurpose
	})
	if !errors.Is(err, errOnPurpose) {
		s.Errorf("Update = %v, want %v", err, errOnPurpose)
	}
	s.want(s.db, A, "k=before ")
	s.want(s.db, B, "")
	var group sync.WaitGroup
	for i := range 100 { // those that share a write do not share failures
		group.Go(func() {
			err := s.db.Update(ctx, func(tx store.Tx) error {
				for part := range 3 {
					tx.Put(A, fmt.Appendf(nil, "%03d/%d", i, part), []byte{'x'})
				}
				if i%10 == 3 {
					return errOnPurpose
				}
				return nil
			})
			if (err != nil) != (i%10 == 3) {
				s.Errorf("update %d = %v", i, err)
			}
		})
	}
	group.Wait()
	if n := s.count(A); n != 1+3*90 {
		s.Errorf("%d rows, want those of the updates that succeeded, whole: %d", n, 1+3*90)
	}
}

func (s *suite) count(table string) (n int) {
	s.Helper()
	if err := s.db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(_, _ []byte) bool { n++; return true })
		return nil
	}); err != nil {
		s.Fatal(err)
	}
	return n
}

// isolated: two rows are always changed together.
func (s *suite) isolated() {
	end := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(end)
		for i := range 100 {
			s.update(s.db, func(tx store.Tx) error {
				tx.Put(A, []byte("k"), fmt.Append(nil, i))
				tx.Put(Log, []byte("k"), fmt.Append(nil, i))
				return tx.Put(B, []byte("k"), fmt.Append(nil, i))
			})
		}
	})
	for open := true; open; {
		select {
		case <-end:
			open = false
		default:
		}
		if err := s.db.View(func(r store.Reader) error {
			a, b, l := string(r.Get(A, []byte("k"))), string(r.Get(B, []byte("k"))), string(r.Get(Log, []byte("k")))
			if a != b || a != l {
				s.Errorf("a view saw %q, %q and %q", a, b, l)
			}
			return nil
		}); err != nil {
			s.Error(err)
		}
	}
	group.Wait()
}

func (s *suite) scans() {
	for _, table := range []string{A, Log} {
		for _, key := range []string{"b", "a", "a\x00", "\x00", "\xff", "ab", "\xff\xff"} {
			s.put(table, key, "")
		}
		for _, row := range []struct{ from, want string }{
			{"", "\x00= a= a\x00= ab= b= \xff= \xff\xff= "},
			{"a", "a= a\x00= ab= b= \xff= \xff\xff= "},
			{"a\x00\x00", "ab= b= \xff= \xff\xff= "},
			{"\xff\xff\x00", ""},
		} {
			if err := s.db.View(func(r store.Reader) error {
				if got := rows(r, table, row.from); got != row.want {
					s.Errorf("Scan(%s, %q) = %q, want %q", table, row.from, got, row.want)
				}
				n := 0
				r.Scan(table, []byte(row.from), func(_, _ []byte) bool { n++; return n < 2 })
				if n > 2 {
					s.Errorf("a scan that was ended went on: %d rows", n)
				}
				return nil
			}); err != nil {
				s.Fatal(err)
			}
		}
	}
	s.want(s.db, B, "") // scans stay in their table
}

func (s *suite) ownWrites() {
	for _, table := range []string{A, Log} {
		s.put(table, "b", "1")
		s.put(table, "d", "1")
		s.update(s.db, func(tx store.Tx) error {
			tx.Put(table, []byte("a"), []byte("2"))
			tx.Put(table, []byte("c"), []byte("2"))
			tx.Put(table, []byte("d"), []byte("2"))
			tx.Delete(table, []byte("b"))
			tx.Put(table, []byte("e"), []byte("2"))
			tx.Delete(table, []byte("e"))
			if got, want := rows(tx, table, ""), "a=2 c=2 d=2 "; got != want {
				s.Errorf("an update sees %q, want %q", got, want)
			}
			if got, want := rows(tx, table, "b"), "c=2 d=2 "; got != want {
				s.Errorf("an update sees %q from b on, want %q", got, want)
			}
			if tx.Get(table, []byte("b")) != nil || string(tx.Get(table, []byte("c"))) != "2" {
				s.Errorf("an update gets b=%q, c=%q", tx.Get(table, []byte("b")), tx.Get(table, []byte("c")))
			}
			return nil
		})
		s.want(s.db, table, "a=2 c=2 d=2 ")
	}
}

// handles are two ways to one store where it can be shared.
func (s *suite) handles() []store.Store {
	if !s.place.Shared {
		return []store.Store{s.db, s.db}
	}
	return []store.Store{s.db, s.open()}
}

// counters: each adds one to what it read; a random delay is the scheduler's.
func (s *suite) counters() {
	const each, workers = 10, 8
	handles := s.handles()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for range each {
				s.update(handles[w%2], func(tx store.Tx) error {
					var n int
					fmt.Sscan(string(tx.Get(A, []byte("n"))), &n)
					return tx.Put(A, []byte("n"), fmt.Append(nil, n+1))
				})
			}
		})
	}
	group.Wait()
	s.want(handles[1], A, fmt.Sprintf("n=%d ", each*workers))
}

// writeSkew: each takes a place if nobody has the other one.
func (s *suite) writeSkew() {
	handles := s.handles()
	for round := range 20 {
		var group sync.WaitGroup
		mine, other := fmt.Appendf(nil, "%d x", round), fmt.Appendf(nil, "%d y", round)
		for i := range 2 {
			group.Go(func() {
				s.update(handles[i], func(tx store.Tx) error {
					if tx.Get(A, [][]byte{other, mine}[i]) != nil {
						return nil
					}
					return tx.Put(A, [][]byte{mine, other}[i], []byte{1})
				})
			})
		}
		group.Wait()
	}
	if n := s.count(A); n != 20 {
		s.Errorf("%d places are taken, want one of each two: 20", n)
	}
}

// phantoms: the next number is one more than there are rows; rows go too.
func (s *suite) phantoms() {
	for _, table := range []string{A, Log} {
		handles := s.handles()
		var group sync.WaitGroup
		for w := range 4 {
			group.Go(func() {
				for range 8 {
					s.update(handles[w%2], func(tx store.Tx) error {
						n := 0
						tx.Scan(table, nil, func(_, _ []byte) bool { n++; return true })
						return tx.Put(table, fmt.Appendf(nil, "%04d", n), []byte{1})
					})
				}
			})
		}
		group.Wait()
		if n := s.count(table); n != 32 {
			s.Errorf("%d rows in %s, want 32: two updates took one number", n, table)
		}
	}
}

func (s *suite) large() {
	value := bytes.Repeat([]byte("0123456789abcdef"), s.place.Large/16)
	for _, table := range []string{A, Log} {
		s.update(s.db, func(tx store.Tx) error { return tx.Put(table, []byte("k"), value) })
	}
	var group sync.WaitGroup
	for i := range 5 { // together they are more than any limit of one request
		group.Go(func() {
			s.update(s.db, func(tx store.Tx) error { return tx.Put(A, fmt.Append(nil, i), value) })
		})
	}
	group.Wait()
	if err := s.db.Close(); err != nil {
		s.Fatal(err)
	}
	s.db = s.open()
	if err := s.db.View(func(r store.Reader) error {
		if !bytes.Equal(r.Get(A, []byte("k")), value) || !bytes.Equal(r.Get(Log, []byte("k")), value) {
			s.Error("a large value is another one after reopening")
		}
		return nil
	}); err != nil {
		s.Fatal(err)
	}
	if n := s.count(A); n != 6 {
		s.Errorf("%d rows, want 6", n)
	}
}

func (s *suite) many() {
	const rows = 3000
	var group sync.WaitGroup
	for w := range 16 {
		group.Go(func() {
			for i := w; i < rows; i += 16 {
				s.update(s.db, func(tx store.Tx) error {
					tx.Put(Log, fmt.Appendf(nil, "%08d", i), []byte{1})
					return tx.Put(A, fmt.Appendf(nil, "%08d", i), fmt.Append(nil, i))
				})
			}
		})
	}
	group.Wait()
	if err := s.db.Close(); err != nil {
		s.Fatal(err)
	}
	s.db = s.open()
	for _, table := range []string{A, Log} {
		next := 0
		if err := s.db.View(func(r store.Reader) error {
			r.Scan(table, nil, func(key, _ []byte) bool {
				if string(key) != fmt.Sprintf("%08d", next) {
					s.Errorf("row %d of %s is %q", next, table, key)
					return false
				}
				next++
				return true
			})
			return nil
		}); err != nil {
			s.Fatal(err)
		}
		if next != rows {
			s.Errorf("%d rows in %s, want %d", next, table, rows)
		}
	}
}

func (s *suite) cancelled() {
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.db.Update(done, func(tx store.Tx) error { return tx.Put(A, []byte("k"), []byte{1}) }); !errors.Is(err, context.Canceled) {
		s.Errorf("Update = %v, want %v", err, context.Canceled)
	}
	s.want(s.db, A, "")
}

func (s *suite) panics() {
	err := s.db.Update(ctx, func(tx store.Tx) error {
		tx.Put(A, []byte("k"), []byte{1})
		panic("on purpose")
	})
	if err == nil {
		s.Error("an update that panicked succeeded")
	}
	s.want(s.db, A, "")
	s.put(A, "k", "2")
	s.want(s.db, A, "k=2 ")
}

func (s *suite) backup() {
	s.put(A, "k", "1")
	s.put(Log, "\x00\xff", "log")
	var out bytes.Buffer
	if err := s.db.Backup(&out); err != nil {
		s.Fatal(err)
	}
	s.put(A, "k", "2")
	place, err := s.place.Accept(out.Bytes())
	if err != nil {
		s.Fatal(err)
	}
	s.place = place
	db := s.open()
	s.want(db, A, "k=1 ")
	s.want(db, B, "")
	s.want(db, Log, "\x00\xff=log ")
}

func (s *suite) damaged() {
	s.put(A, "k", "1")
	if err := s.db.Close(); err != nil {
		s.Fatal(err)
	}
	s.place.Damage(s)
	db, err := s.place.Open()
	if err == nil {
		db.Close()
	}
	if !errors.Is(err, store.ErrDamaged) {
		s.Errorf("opening = %v, want %v", err, store.ErrDamaged)
	}
}

func (s *suite) closed() {
	for range 2 {
		if err := s.db.Close(); err != nil {
			s.Errorf("Close = %v", err)
		}
	}
	if err := s.db.Update(ctx, func(store.Tx) error { return nil }); err == nil {
		s.Error("a closed store took an update")
	}
	if err := s.db.View(func(store.Reader) error { return nil }); err == nil {
		s.Error("a closed store gave a view")
	}
}

// model runs random updates on the store and on maps.
func (s *suite) model() {
	random := rand.New(rand.NewPCG(1, 2))
	handles := s.handles()
	want := map[string]map[string]string{A: {}, B: {}, Log: {}}
	for range 150 {
		fails, steps := random.IntN(4) == 0, 1+random.IntN(6)
		next := map[string]map[string]string{}
		for table, rows := range want {
			next[table] = map[string]string{}
			for k, v := range rows {
				next[table][k] = v
			}
		}
		type change struct{ table, key, value string }
		var changes []change
		for range steps {
			c := change{Tables()[random.IntN(3)], string(rune('a' + random.IntN(12))), fmt.Sprint(random.IntN(1000))}
			if random.IntN(3) == 0 {
				c.value = ""
			}
			changes = append(changes, c)
			if next[c.table][c.key] = c.value; c.value == "" {
				delete(next[c.table], c.key)
			}
		}
		err := handles[random.IntN(2)].Update(ctx, func(tx store.Tx) error {
			for _, c := range changes {
				if c.value == "" {
					tx.Delete(c.table, []byte(c.key))
				} else {
					tx.Put(c.table, []byte(c.key), []byte(c.value))
				}
			}
			if fails {
				return errOnPurpose
			}
			return nil
		})
		if fails != errors.Is(err, errOnPurpose) {
			s.Fatalf("Update = %v", err)
		}
		if !fails {
			want = next
		}
		s.compare(handles[random.IntN(2)], want)
	}
}

func (s *suite) compare(db store.Store, want map[string]map[string]string) {
	s.Helper()
	for table, rows := range want {
		text := ""
		for k := 'a'; k < 'a'+12; k++ {
			if v, ok := rows[string(k)]; ok {
				text += string(k) + "=" + v + " "
			}
		}
		s.want(db, table, text)
	}
}
