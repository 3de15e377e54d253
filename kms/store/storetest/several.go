package storetest

import (
	"fmt"
	"sync"

	"latchkey/kms/store"
)

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
