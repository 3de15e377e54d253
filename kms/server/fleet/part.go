package fleet

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"latchkey/kms/ledger"
)

// A Part is the machines of a fleet that somebody sees who administers: to him
// there are no others, neither by name nor in a list, a page, or a count.
type Part[R Row] struct {
	fleet *Fleet[R]
	sees  func(*R) bool // nil: all
}

// Part is the part of the machines for which sees is true; nil is all.
func (f *Fleet[R]) Part(sees func(*R) bool) Part[R] { return Part[R]{f, sees} }

func (p Part[R]) has(row *R) bool { return p.sees == nil || p.sees(row) }

// Get finds a machine, as Fleet.Get does.
func (p Part[R]) Get(v ledger.View, key []byte) (row R, found bool, err error) {
	row, found, err = p.fleet.Get(v, key)
	if err != nil || !found || p.has(&row) {
		return row, found, err
	}
	var none R
	return none, false, nil
}

// All calls g with each machine, those that wait first, until it returns an
// error.
func (p Part[R]) All(v ledger.View, g func(R) error) error {
	return p.fleet.All(v, p.only(g))
}

// Known calls g with each machine that does not wait for approval.
func (p Part[R]) Known(v ledger.View, g func(R) error) error {
	return p.fleet.Known(v, p.only(g))
}

func (p Part[R]) only(g func(R) error) func(R) error {
	return func(row R) error {
		if !p.has(&row) {
			return nil
		}
		return g(row)
	}
}

// Page calls g with at most n machines after a cursor, "" for the first ones,
// in the order of All, and gives the cursor for the next ones; "" means that
// there are none.
func (p Part[R]) Page(v ledger.View, cursor string, n int, g func(R)) (next string, err error) {
	list, after, err := parseCursor(cursor)
	if err != nil {
		return "", err
	}
	for i, table := range []*ledger.Table{p.fleet.pending, p.fleet.nodes} {
		if i < list {
			continue
		}
		from := after
		if i > list {
			from = nil
		}
		next, err := p.page(v, table, from, &n, g)
		if err != nil || next != nil {
			return fmt.Sprintf("%d-%x", i, next), err
		}
	}
	return "", nil
}

// page passes the rows behind a key until n are passed; then it gives the
// last one's key if there are more.
func (p Part[R]) page(v ledger.View, table *ledger.Table, after []byte, n *int, g func(R)) (last []byte, err error) {
	more := false
	v.Scan(table, after, func(key []byte) bool {
		if bytes.Equal(key, after) {
			return true
		}
		if p.sees == nil && *n == 0 { // no row need be opened to tell
			more = true
			return false
		}
		var row R
		if _, err = v.Load(table, key, &row); err != nil || !p.has(&row) {
			return err == nil
		}
		if more = *n == 0; more {
			return false
		}
		*n--
		last = bytes.Clone(key)
		g(row)
		return true
	})
	if !more {
		last = nil
	} else if last == nil {
		last = append(bytes.Clone(after), 0)[:len(after)]
	}
	return last, err
}

func parseCursor(cursor string) (list int, after []byte, err error) {
	if cursor == "" {
		return 0, nil, nil
	}
	number, key, ok := strings.Cut(cursor, "-")
	after, err = hex.DecodeString(key)
	if !ok || err != nil || len(number) != 1 || number[0] < '0' || number[0] > '1' {
		return 0, nil, fmt.Errorf("reading a page: %.80q is no cursor", cursor)
	}
	return int(number[0] - '0'), after, nil
}
