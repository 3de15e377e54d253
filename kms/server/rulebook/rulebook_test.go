package rulebook

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/store/bolt"
)

// nobody need agree.
type nobody struct{}

func (nobody) Together(context.Context, *ledger.Txn, kms.NodeID, int, string, string) error {
	return nil
}

func (nobody) Reaches(ledger.View, kms.NodeID, string, string) ([]admin.Reach, error) {
	return nil, nil
}

func (nobody) Keep(context.Context, kms.NodeID, string, error) (string, error) { return "", nil }

func (nobody) Forget(*ledger.Txn, kms.NodeID) error { return nil }

func newEditor(t testing.TB) *Editor {
	t.Helper()
	dir, ctx, key := t.TempDir(), context.Background(), secret.Random(32)
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, ledger.Names(Tables()))
	if err != nil {
		t.Fatal(err)
	}
	mark := ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(ctx, db, key, mark); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Store: db, Wrapping: key, Mark: mark, Tables: Tables()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &Editor{l, New(nil), nobody{}}
}

// An edition that this program cannot read is an error for whoever is to
// judge by it, not the one before; another can be applied.
func TestEditionThatCannotBeRead(t *testing.T) {
	d, ctx := newEditor(t), context.Background()
	if _, err := d.Apply(ctx, NewEdition{Text: "policy: {defaults: {per-boot: 1}}\n"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Ledger.Update(ctx, func(t *ledger.Txn) error {
		return write(t, Edition{Number: 2, Text: "policy: {of-a-later-version: 1}\n"}, "policy apply")
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.Ledger.Read(d.Book.Follow); err == nil {
		t.Error("a policy that nobody can read was followed")
	}
	if done, err := d.Apply(ctx, NewEdition{Text: "policy: {defaults: {per-boot: 3}}\n", Base: 2}); err != nil || done.Number != 3 {
		t.Fatalf("Apply = %+v, %v", done, err)
	}
	if err := d.Ledger.Read(d.Book.Follow); err != nil || *d.Book.Rules().Defaults.PerBoot != 3 || d.Book.Edition() != 3 {
		t.Errorf("Follow = %v, edition %d", err, d.Book.Edition())
	}
}

// What a view of before says does not bring back what was replaced since.
func TestOlderViewsChangeNothing(t *testing.T) {
	d, ctx := newEditor(t), context.Background()
	// A view keeps the file from growing: it grows before.
	long := "policy: {defaults: {per-boot: 1}}\n" + strings.Repeat("# and a long comment\n", 2000)
	if _, err := d.Apply(ctx, NewEdition{Text: long}); err != nil {
		t.Fatal(err)
	}
	err := d.Ledger.Read(func(before ledger.View) error {
		done := make(chan error, 1)
		go func() {
			_, err := d.Apply(ctx, NewEdition{Text: "policy: {defaults: {per-boot: 2}}\n", Base: 1})
			done <- err
		}()
		if err := <-done; err != nil {
			return err
		}
		return d.Book.Follow(before)
	})
	if err != nil || *d.Book.Rules().Defaults.PerBoot != 2 {
		t.Errorf("%v, per-boot %d", err, *d.Book.Rules().Defaults.PerBoot)
	}
}

// The last hundred are kept.
func TestOldEditionsEnd(t *testing.T) {
	d, ctx := newEditor(t), context.Background()
	for i := range uint32(maxEditions + 2) {
		text := "policy: {defaults: {per-boot: " + string('1'+rune(i%2)) + "}}\n"
		if _, err := d.Apply(ctx, NewEdition{Text: text, Base: i}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.List()
	if err != nil || len(all) != maxEditions || all[0].Number != maxEditions+2 {
		t.Errorf("%d editions, %v", len(all), err)
	}
}

// What each decision pays for a policy in the store.
func BenchmarkFollow(b *testing.B) {
	d := newEditor(b)
	if _, err := d.Apply(context.Background(), NewEdition{Text: "policy: {defaults: {per-boot: 1}}\n"}); err != nil {
		b.Fatal(err)
	}
	if err := d.Ledger.Read(func(v ledger.View) error {
		for b.Loop() {
			if err := d.Book.Follow(v); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}
