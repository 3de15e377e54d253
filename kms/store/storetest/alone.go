package storetest

import (
	"errors"
	"fmt"
	"sync"

	"latchkey/kms/store"
)

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
