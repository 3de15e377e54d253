package ledger

import (
	"context"

	"latchkey/kms/store"
)

// Mark puts an empty row into a Passing table: that its key was there.
func (t *Txn) Mark(table *Table, key []byte) error {
	t.passing(table)
	return t.tx.Put(table.name, key, []byte{1})
}

// PutPassing seals and writes a row of a Passing table. What stood there may
// be put back by who can write to the store, for as long as its own text says.
func (t *Txn) PutPassing(table *Table, key, plain []byte) error {
	t.passing(table)
	return t.tx.Put(table.name, key, t.View.keys.seal(place{table.name, key, table.state(key)}, 0, plain))
}

// Unmark removes a row of a Passing table.
func (t *Txn) Unmark(table *Table, key []byte) error {
	t.passing(table)
	return t.tx.Delete(table.name, key)
}

func (t *Txn) passing(table *Table) {
	t.View.l.own(table)
	if table.kind != Passing {
		panic("ledger: table " + table.name + " is in the digest")
	}
}

// Replace replaces a sealed row of a Passing table, whatever the state is:
// change gets what stands there, nil for nothing, and says what is to stand
// there; nil leaves it.
func (l *Ledger) Replace(ctx context.Context, table *Table, key []byte, change func(plain []byte) ([]byte, error)) error {
	return l.store.Update(ctx, func(tx store.Tx) error {
		t := &Txn{View: l.view(tx), tx: tx}
		t.passing(table)
		if err := t.View.keys.unable(); err != nil {
			return err
		}
		plain, _, err := t.View.Get(table, key)
		defer clear(plain)
		if err != nil {
			return err
		}
		next, err := change(plain)
		defer clear(next)
		if err != nil || next == nil {
			return err
		}
		return tx.Put(table.name, key, t.View.keys.seal(place{table.name, key, table.state(key)}, 0, next))
	})
}
