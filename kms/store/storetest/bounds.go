package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"latchkey/kms/store"
)

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

func (s *suite) canceled() {
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
