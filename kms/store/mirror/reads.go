package mirror

import (
	"slices"
	"strings"
)

// A Read is a row that was read: the version at which it was put, 0 if it
// was not there.
type Read struct {
	Table, Key string
	At         Version
}

// A Range is a part of a table of which all rows were read: from a key to
// another, exclusive; to the table's end if that is empty.
type Range struct{ Table, From, To string }

// Reads are what a write rests on.
type Reads struct {
	Rows   []Read
	Ranges []Range
	All    bool // all that there is: any write of others is a conflict
}

// Written is what became of a Commit.
type Written struct {
	Version Version // at which it was written or, if it was not, the newest one seen
	Next    bool    // nobody wrote between this and the version that was read
}

// maxRange is how many rows are looked at again for a range that was read:
// the service does that while others wait. Who read more holds to all.
const maxRange = 500

// reads gathers Reads. A copy is another one.
type reads struct {
	rows   tree // by table, zero byte, key
	ranges []Range
	n      int // of rows
	all    bool
	doubt  bool // something is being read that may fail because others wrote
}

// row notes a row, unless a range has it.
func (r *reads) row(table, key string, at Version) {
	if r.all {
		return
	}
	for _, one := range r.ranges {
		if one.Table == table && one.From <= key && (one.To == "" || key < one.To) {
			return
		}
	}
	name := table + "\x00" + key
	if r.rows.find(name) == nil {
		r.rows = r.rows.put(name, nil, at)
		r.n++
	}
}

// scan notes a range in which so many rows were seen.
func (r *reads) scan(one Range, rows int) {
	if r.all || rows > maxRange {
		r.all = true
		return
	}
	for _, other := range r.ranges {
		if other == one {
			return
		}
	}
	r.ranges = append(r.ranges[:len(r.ranges):len(r.ranges)], one)
	var within []string
	prefix := one.Table + "\x00"
	r.rows.scan(prefix+one.From, func(name string, _ []byte) bool {
		if !strings.HasPrefix(name, prefix) || one.To != "" && name >= prefix+one.To {
			return false
		}
		within = append(within, name)
		return true
	})
	for _, name := range within {
		r.rows = r.rows.drop(name)
		r.n--
	}
}

// len is how much is compared.
func (r *reads) len() int {
	if r.all {
		return 1
	}
	return r.n + len(r.ranges) + len(Reads{Ranges: r.ranges}.Tables())
}

// Tables are those of which ranges were read: what was removed from one is
// compared, too.
func (r Reads) Tables() (names []string) {
	for _, one := range r.Ranges {
		if !slices.Contains(names, one.Table) {
			names = append(names, one.Table)
		}
	}
	return names
}

func (r *reads) list() Reads {
	all := Reads{Ranges: r.ranges, All: r.all || r.doubt}
	r.rows.scan("", func(name string, _ []byte) bool {
		table, key, _ := strings.Cut(name, "\x00")
		all.Rows = append(all.Rows, Read{table, key, r.rows.find(name).at})
		return true
	})
	return all
}
