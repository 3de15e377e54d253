package ledger

import (
	"fmt"
	"slices"
)

// A Kind says what becomes of a table's rows.
type Kind int

const (
	// Sealed rows are covered by the digest over all records.
	Sealed Kind = iota + 1
	// SealedByState rows are Sealed, and the last byte of their key is part
	// of the seal: one cannot be put in the place of another.
	SealedByState
	// Log rows are Sealed, only grow, and are read by key.
	Log
	// Passing rows live for minutes, are in no backup and in no digest.
	Passing
)

// A Table is rows of one owner. Only who has the Table that was registered
// under its name gets at them.
type Table struct {
	name  string
	kind  Kind
	since int // format of the store
}

// NewTable makes a table to register.
func NewTable(name string, kind Kind) *Table { return &Table{name: name, kind: kind} }

// NewTableSince makes one that programs of earlier formats do not know, and
// would take for damage: it has no rows before the store is upgraded.
func NewTableSince(name string, kind Kind, format int) *Table { return &Table{name, kind, format} }

func (t *Table) state(key []byte) byte {
	if t.kind == SealedByState && len(key) > 0 {
		return key[len(key)-1]
	}
	return 0
}

// The ledger's own tables, beside those of rings.
const (
	tableMeta  = "meta"  // format, wrapped data key; sealed: heads, signing keys
	tableAudit = "audit" // by sequence number, and server where there are several: hash ‖ event, plain
)

var tableKeys = NewTable("keys", Sealed) // by ring ‖ 0 ‖ version

func (l *Ledger) register(tables []*Table, rings []*Keyring) error {
	for _, t := range append(slices.Clone(tables), tableKeys, tableEnded, tableSegments) {
		if l.tables[t.name] != nil || t.name == tableMeta || t.name == tableAudit {
			return fmt.Errorf("registering tables: two are named %s", t.name)
		}
		l.tables[t.name] = t
	}
	for _, k := range rings {
		if l.keyrings[k.name] != nil {
			return fmt.Errorf("registering keyrings: two are named %s", k.name)
		}
		l.keyrings[k.name] = k
	}
	return nil
}

// own panics for a table that is not the registered one: code that names
// another's rows is wrong, whatever its input.
func (l *Ledger) own(t *Table) {
	if l.tables[t.name] != t {
		panic("ledger: table " + t.name + " is not registered")
	}
}

// sealed are the names of the tables that the digest covers, sorted.
func (l *Ledger) sealed() (all []*Table) {
	for _, t := range l.tables {
		if t.kind != Passing {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *Table) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

// Names lists what a store must have for these tables and the ledger's own.
func Names(tables []*Table) []string {
	names := []string{tableMeta, tableAudit, tableKeys.name, tableEnded.name, tableSegments.name}
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// LogNames are those that only grow and are read by key, or by the
// operator.
func LogNames(tables []*Table) []string { return append(namesOf(tables, Log), tableAudit) }

// PassingNames are those whose rows live for minutes: they are in no backup.
func PassingNames(tables []*Table) []string { return namesOf(tables, Passing) }

// CopyNames are those that a copy has, in the order to write them: without
// the last one's rows it is no KMS yet. To remove one, go backwards.
func CopyNames(tables []*Table) []string {
	passing := PassingNames(tables)
	kept := slices.DeleteFunc(Names(tables), func(name string) bool { return name == tableMeta || slices.Contains(passing, name) })
	return append(kept, tableMeta)
}

func namesOf(tables []*Table, kind Kind) (names []string) {
	for _, t := range tables {
		if t.kind == kind {
			names = append(names, t.name)
		}
	}
	return names
}
