package server_test

import (
	"slices"
	"testing"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// peers I7: one damaged row stops the server, for nobody can say what else
// is wrong; salvage keeps the rest, says what is gone, and the audit log
// knows of it.
func TestSalvage(t *testing.T) {
	for _, row := range []struct {
		name    string
		damage  func(store.Tx) error
		dropped string // its table
		altered int
		granted bool
	}{
		{"a pending node", func(tx store.Tx) error { return spoil(tx, "pending", 0) }, "pending", 0, true},
		{"a token", func(tx store.Tx) error { return tx.Put("tokens", []byte("x"), []byte("y")) }, "tokens", 0, true},
		{"the node itself", func(tx store.Tx) error { return spoil(tx, "nodes", 0) }, "nodes", 0, false},
		{"an old event", func(tx store.Tx) error { return spoil(tx, "audit", 1) }, "", 1, true},
		{"an event that is gone", func(tx store.Tx) error { keys, _ := all(tx, "audit"); return tx.Delete("audit", keys[1]) }, "", -1, true},
		{"the state", func(tx store.Tx) error { return tx.Put("meta", []byte("state"), []byte("x")) }, "", 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newKMS(t)
			node := f.approved()
			if _, err := f.get(newTPM(t)); code(err) != "pending" {
				t.Fatal(err)
			}
			f.web.Close()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f.edit(row.damage)
			if err := f.start(); err == nil {
				t.Fatal("the server starts on a damaged database")
			}

			s := f.salvage()
			if row.dropped == "" && len(s.Dropped) != 0 || row.dropped != "" && (len(s.Dropped) != 1 || s.Dropped[0].Table != row.dropped) {
				t.Errorf("dropped %v, want one of %q", s.Dropped, row.dropped)
			}
			if row.altered >= 0 && len(s.Altered) != row.altered || row.altered < 0 && len(s.Altered) == 0 {
				t.Errorf("altered events %v, want %d", s.Altered, row.altered)
			}
			if err := f.start(); err != nil {
				t.Fatalf("after salvage: %v", err)
			}
			if !slices.ContainsFunc(f.log(), func(e ledger.Event) bool { return e.Event == "salvage" }) {
				t.Error("the audit log does not say that it was salvaged")
			}
			if g, err := f.get(node); (err == nil && g.Volumes[0].Status == kms.OK) != row.granted {
				t.Errorf("Get = %v, %v, want granted %t", g, err, row.granted)
			}
		})
	}
}

func (f *fixture) salvage() ledger.Salvaged {
	f.t.Helper()
	db, err := bolt.Open(f.path(), false, server.Tables())
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	s, err := server.Salvage(ctx, db, f.wrapping, f.mark())
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// spoil changes the last byte of one of a table's rows.
func spoil(tx store.Tx, table string, n int) error {
	keys, values := all(tx, table)
	values[n][len(values[n])-1] ^= 1
	return tx.Put(table, keys[n], values[n])
}
