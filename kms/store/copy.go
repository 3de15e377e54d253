package store

import (
	"bytes"
	"context"
	"fmt"
)

// What Copy writes at once at most: every store takes it.
const (
	copyRows  = 100
	copyBytes = 512 << 10
)

// A row is one of a table.
type row struct{ table, key, value []byte }

// Copy writes all rows of some tables, of one state, into an empty store.
// The last table is written last: its rows say that the copy is whole.
func Copy(ctx context.Context, from, to Store, tables []string) error {
	return from.View(func(r Reader) error {
		b := &bulk{ctx: ctx, to: to}
		for _, table := range tables {
			r.Scan(table, nil, func(key, value []byte) bool {
				b.add(row{[]byte(table), key, value})
				return b.err == nil
			})
			if b.flush(); b.err != nil {
				return fmt.Errorf("copying the table %s: %w", table, b.err)
			}
		}
		return nil
	})
}

// bulk gathers rows until they are worth a write.
type bulk struct {
	ctx  context.Context
	to   Store
	rows []row
	size int
	err  error
}

func (b *bulk) add(r row) {
	if n := len(r.key) + len(r.value); b.size+n > copyBytes || len(b.rows) == copyRows {
		b.flush()
	}
	b.rows = append(b.rows, row{r.table, bytes.Clone(r.key), bytes.Clone(r.value)})
	b.size += len(r.key) + len(r.value)
}

func (b *bulk) flush() {
	rows := b.rows
	if b.rows, b.size = nil, 0; b.err != nil || len(rows) == 0 {
		return
	}
	b.err = b.to.Update(b.ctx, func(tx Tx) error {
		for _, r := range rows {
			if err := tx.Put(string(r.table), r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Empty removes all rows of some tables, the first table's first.
func Empty(ctx context.Context, st Store, tables []string) error {
	for _, table := range tables {
		for more := true; more; {
			err := st.Update(ctx, func(tx Tx) error {
				var keys [][]byte
				tx.Scan(table, nil, func(key, _ []byte) bool {
					keys = append(keys, bytes.Clone(key))
					return len(keys) < copyRows
				})
				for _, key := range keys {
					if err := tx.Delete(table, key); err != nil {
						return err
					}
				}
				more = len(keys) > 0
				return nil
			})
			if err != nil {
				return fmt.Errorf("emptying the table %s: %w", table, err)
			}
		}
	}
	return nil
}
