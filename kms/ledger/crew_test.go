package ledger_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// A crew is servers that share one store, each with a mark of its own.
type crew struct {
	t        *testing.T
	db       store.Store
	wrapping secret.Bytes
	marks    []ledger.MarkFile
}

func newCrew(t *testing.T) *crew {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kms.db"), true, ledger.Names(tables))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := &crew{t: t, db: db, wrapping: secret.Random(32)}
	if _, err := ledger.Initialize(t.Context(), db, c.wrapping, ledger.MarkFile(filepath.Join(t.TempDir(), "first"))); err != nil {
		t.Fatal(err)
	}
	return c
}

// join is one more server.
func (c *crew) join() *ledger.Ledger {
	c.t.Helper()
	mark := ledger.MarkFile(filepath.Join(c.t.TempDir(), "epoch"))
	if err := mark.Write(ledger.Position{Epoch: 1}); err != nil {
		c.t.Fatal(err)
	}
	c.marks = append(c.marks, mark)
	return c.open(len(c.marks) - 1)
}

// joinBy is one that can ask for the wrapping key again, unless it is away.
func (c *crew) joinBy(away *bool) *ledger.Ledger {
	c.t.Helper()
	c.join()
	return c.openOn(c.db, len(c.marks)-1, c.again(away))
}

func (c *crew) again(away *bool) func(context.Context) (secret.Bytes, error) {
	return func(context.Context) (secret.Bytes, error) {
		if *away {
			return secret.Bytes{}, errors.New("who keeps it is away")
		}
		return c.wrapping.Clone(), nil
	}
}

func (c *crew) open(i int) *ledger.Ledger {
	c.t.Helper()
	return c.openOn(c.db, i, nil)
}

// openOn opens it on a store, with what asks for the wrapping key again.
func (c *crew) openOn(db store.Store, i int, again func(context.Context) (secret.Bytes, error)) *ledger.Ledger {
	c.t.Helper()
	l, err := ledger.Open(ledger.Config{Store: db, Shared: true, Wrapping: c.wrapping, Again: again, Mark: c.marks[i], Tables: tables})
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

// change puts a row, and notes it.
func (c *crew) change(l *ledger.Ledger, key string) {
	c.t.Helper()
	err := l.Update(c.t.Context(), func(t *ledger.Txn) error {
		t.Bump()
		return errors.Join(t.Put(tableA, []byte(key), []byte(key)), t.Note(ledger.Event{Event: key}))
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *crew) endIdle(l *ledger.Ledger) {
	c.t.Helper()
	if err := l.Update(c.t.Context(), func(t *ledger.Txn) error { return t.EndIdle() }); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crew) check(l *ledger.Ledger, when string) ledger.Checked {
	c.t.Helper()
	found, err := l.Check()
	if err != nil {
		c.t.Fatalf("%s: Check = %v", when, err)
	}
	return found
}

// rows are those of the store: heads by server, and of any table.
func (c *crew) rows(table string) (keys []string, values map[string][]byte) {
	values = map[string][]byte{}
	c.db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(key, value []byte) bool {
			keys, values[string(key)] = append(keys, string(key)), slices.Clone(value)
			return true
		})
		return nil
	})
	return keys, values
}

func (c *crew) heads() (n int) {
	keys, _ := c.rows("meta")
	for _, key := range keys {
		if strings.HasPrefix(key, "state/") {
			n++
		}
	}
	return n
}

// put writes rows as who has no key does; nil removes one.
func (c *crew) put(table string, rows map[string][]byte) {
	c.t.Helper()
	err := c.db.Update(c.t.Context(), func(tx store.Tx) error {
		for key, value := range rows {
			if value == nil {
				tx.Delete(table, []byte(key))
			} else if err := tx.Put(table, []byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// headOf is where a server's head stands, by its mark.
func (c *crew) headOf(i int) string {
	c.t.Helper()
	p, err := c.marks[i].Read()
	if err != nil {
		c.t.Fatal(err)
	}
	return "state/" + p.Server
}

// putBack makes a table what it was.
func (c *crew) putBack(table string, was map[string][]byte) {
	c.t.Helper()
	keys, _ := c.rows(table)
	for _, key := range keys {
		if _, there := was[key]; !there {
			was[key] = nil
		}
	}
	c.put(table, was)
}
