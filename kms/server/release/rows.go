package release

import (
	"fmt"

	"latchkey/kms/ledger"
)

// Rows are the releases that a ledger keeps. Only who has them reads or
// writes its table.
type Rows struct{ table *ledger.Table }

// NewRows makes rows to register with a ledger.
func NewRows() *Rows { return &Rows{ledger.NewTable("releases", ledger.Sealed)} }

// Tables are those to register.
func (r *Rows) Tables() []*ledger.Table { return []*ledger.Table{r.table} }

// Get finds a release.
func (r *Rows) Get(v ledger.View, name string) (row Release, err error) {
	found, err := v.Load(r.table, []byte(name), &row)
	if err == nil && !found {
		err = fmt.Errorf("looking for release %.70q: %w", name, ledger.ErrNotFound)
	}
	return row, err
}

// All are all releases, by name.
func (r *Rows) All(v ledger.View) (all []Release, err error) {
	v.Scan(r.table, nil, func(key []byte) bool {
		var row Release
		if _, err = v.Load(r.table, key, &row); err == nil {
			all = append(all, row)
		}
		return err == nil
	})
	return all, err
}

// Put keeps a release.
func (r *Rows) Put(t *ledger.Txn, row Release) error {
	if !t.View.Has(r.table, []byte(row.Name)) && t.View.Count(r.table, Max) == Max {
		return fmt.Errorf("adding release %s: %w: there are %d already; remove one that is retired", row.Name, ledger.ErrRefused, Max)
	}
	return t.Save(r.table, []byte(row.Name), row)
}

// Remove forgets a release.
func (r *Rows) Remove(t *ledger.Txn, name string) error { return t.Remove(r.table, []byte(name)) }
