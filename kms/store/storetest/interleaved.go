package storetest

import (
	"errors"
	"fmt"

	"latchkey/kms/store"
)

// interleaving is an update that reads, while another server writes.
type interleaving struct {
	name      string
	read      func(store.Tx) string
	meanwhile func(store.Tx) error
	apart     bool // what is written meanwhile is nothing that was read
}

func interleavings() []interleaving {
	get := func(table, key string) func(store.Tx) string {
		return func(tx store.Tx) string { return string(tx.Get(table, []byte(key))) }
	}
	all := func(table, from string) func(store.Tx) string {
		return func(tx store.Tx) string { return rows(tx, table, from) }
	}
	put := func(table, key string) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Put(table, []byte(key), []byte("new")) }
	}
	remove := func(table, key string) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Delete(table, []byte(key)) }
	}
	each := func(n int) func(store.Tx) string {
		return func(tx store.Tx) (out string) {
			for i := range n {
				out += string(tx.Get(A, fmt.Appendf(nil, "%04d", i)))
			}
			return out
		}
	}
	glance := func(tx store.Tx) string { return string(store.Glance(tx).Get(A, []byte("0001"))) }
	list := []interleaving{
		{"a row of many that were read", each(200), put(A, "0150"), false},
		{"no row of many that were read", each(20), put(A, "0150"), true},
		{"a row that was there in none", func(store.Tx) string { return "" }, put(A, "0001"), true},
		{"what was only glanced at", glance, put(A, "0001"), true},
	}
	for _, table := range []string{A, Log} {
		list = append(list, []interleaving{
			{"a row of " + table, get(table, "0001"), put(table, "0001"), false},
			{"a row that was not there in " + table, get(table, "none"), put(table, "none"), false},
			{"a row removed from " + table, get(table, "0001"), remove(table, "0001"), false},
			{"a row put into a range of " + table, all(table, "0590"), put(table, "0595x"), false},
			{"a row changed in a range of " + table, all(table, "0590"), put(table, "0595"), false},
			{"a row removed from a range of " + table, all(table, "0590"), remove(table, "0595"), false},
			{"a row before a range of " + table, all(table, "0590"), put(table, "0001"), true},
			{"a row of a whole table " + table, all(table, ""), put(table, "0300"), false},
		}...)
	}
	return list
}

// interleaved: what an update read is so when it is written, or it runs
// again; what it did not read is in nobody's way.
func (s *suite) interleaved() {
	if !s.place.Shared || s.place.Serial {
		return // there is nobody else, or nothing that the tests above do not show
	}
	one, two := s.db, s.open()
	for _, table := range []string{A, Log} {
		for from := 0; from < 600; from += 50 {
			s.update(one, func(tx store.Tx) error {
				for i := from; i < from+50; i++ {
					if err := tx.Put(table, fmt.Appendf(nil, "%04d", i), []byte("old")); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	for _, fails := range []bool{false, true} {
		for _, i := range interleavings() {
			s.interleaveApart(one, two, i, fails)
		}
	}
}

// tries is how often a server may take itself for the only one, and hold to
// all at its first run: one that has heard of no other for a second does,
// which on a slow machine is soon over.
const tries = 5

// interleaveApart interleaves, and makes sure that what nobody read is in
// nobody's way.
func (s *suite) interleaveApart(one, two store.Store, i interleaving, fails bool) {
	s.Helper()
	for range tries {
		runs := s.interleave(one, two, i, fails)
		if !i.apart || !s.place.Apart || runs == 1 {
			return
		}
	}
	s.Errorf("%s (the update fails: %t): it ran more than once at each of %d tries", i.name, fails, tries)
}

// interleave runs an update at one server, and in the middle of its first
// run another one at the other. An update that fails for what it read must
// have read what is so, too. It tells how often the update ran.
func (s *suite) interleave(one, two store.Store, i interleaving, fails bool) (runs int) {
	s.Helper()
	var read, is string
	err := one.Update(ctx, func(tx store.Tx) error {
		runs++
		read = i.read(tx)
		if runs == 1 {
			if err := two.Update(ctx, i.meanwhile); err != nil {
				s.Errorf("%s: the other server's Update = %v", i.name, err)
			}
		}
		if fails {
			return errOnPurpose
		}
		return tx.Put(B, []byte("result"), []byte(read))
	})
	if fails != errors.Is(err, errOnPurpose) {
		s.Errorf("%s: Update = %v", i.name, err)
	}
	s.update(one, func(tx store.Tx) error { is = i.read(tx); return nil })
	if !i.apart && read != is {
		s.Errorf("%s (the update fails: %t): it rests on %.20q, and %.20q is so", i.name, fails, read, is)
	}
	// As it was.
	s.update(one, func(tx store.Tx) error {
		for _, table := range []string{A, Log} {
			for _, key := range []string{"0001", "0150", "0300", "0595"} {
				if err := tx.Put(table, []byte(key), []byte("old")); err != nil {
					return err
				}
			}
			for _, key := range []string{"none", "0595x"} {
				if err := tx.Delete(table, []byte(key)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return runs
}
