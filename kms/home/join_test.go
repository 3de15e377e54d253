package home

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/etcd/etcdtest"
)

// TestJoinAfterRestore is faults/kms.md M4: the store is lost, and one host
// restores a backup; it cannot know how far the others have seen. They refuse
// what is older until their operator says that it was restored.
func TestJoinAfterRestore(t *testing.T) {
	ctx := context.Background()
	e := etcdtest.Start(t)
	place, err := config.ParsePlace("etcd:"+e.URL, config.Place{CA: e.CA, Cert: e.Cert, Key: e.Key})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	host := func(name string) Home {
		return Home{config.Location{Data: filepath.Join(dir, name), Place: place, Wrapping: config.Wrapping{Key: filepath.Join(dir, "wrapping.key")}}}
	}
	one, two := host("one"), host("two")
	if _, err := one.Create(ctx, nil); err != nil {
		t.Fatal(err)
	}
	saved := backUp(t, one, filepath.Join(dir, "backup.db"))
	seen, err := one.Mark().Read()
	if err != nil {
		t.Fatal(err)
	}
	change(t, one, 20)
	if _, _, err := two.Join(ctx, false); err != nil {
		t.Fatal(err)
	}

	loseStore(t, one)
	if err := one.Mark().Write(seen); err != nil { // a host that was idle
		t.Fatal(err)
	}
	if _, _, err := one.Restore(ctx, backup.Source{File: saved}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.Join(ctx, false); !errors.Is(err, ledger.ErrRolledBack) {
		t.Errorf("joining an older store = %v, want %v", err, ledger.ErrRolledBack)
	}
	found, _, err := two.Join(ctx, true)
	if err != nil {
		t.Fatalf("joining after the restore: %v", err)
	}
	if mark, err := two.Mark().Read(); err != nil || mark.Epoch != found.Epoch {
		t.Errorf("the mark is %v, %v, want %d", mark, err, found.Epoch)
	}
	change(t, two, 1)
}

// backUp writes a backup of a KMS that is not running.
func backUp(t *testing.T, h Home, path string) string {
	t.Helper()
	st, err := h.openStore(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.Backup(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// change makes some changes to a KMS.
func change(t *testing.T, h Home, n int) {
	t.Helper()
	s, err := h.Open(t.Context(), server.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		if err := s.PutVolume(t.Context(), kms.UUID{byte(i), 1}, secret.Passphrase()); err != nil {
			t.Fatal(err)
		}
	}
}

// loseStore empties the store behind everybody's back.
func loseStore(t *testing.T, h Home) {
	t.Helper()
	st, err := h.openStore(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	tables := server.CopyTables()
	slices.Reverse(tables)
	if err := store.Empty(t.Context(), st, append(tables, server.PassingTables()...)); err != nil {
		t.Fatal(err)
	}
}
