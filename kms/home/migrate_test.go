package home

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// ending is a store that takes so many updates and no more.
type ending struct {
	store.Store
	left int
}

var errEnded = errors.New("ended")

func (e *ending) Update(ctx context.Context, f func(store.Tx) error) error {
	if e.left--; e.left < 0 {
		return errEnded
	}
	return e.Store.Update(ctx, f)
}

// A copy that is cut off at any of its writes is no KMS, and doing it again
// completes it; so also where a copy replaces another KMS, as restoring into
// a shared store does.
func TestCopyIsCutOff(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	h := Home{config.Location{Data: data, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(data, "kms.db")}}}
	if _, err := h.Create(ctx, nil); err != nil {
		t.Fatal(err)
	}

	from, err := openPlace(ctx, h.Place, false)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	s, err := h.openOn(server.Config{Store: from, Mark: h.Mark()})
	if err != nil {
		t.Fatal(err)
	}

	for i := range 150 { // more rows than one write has
		if err := s.PutVolume(ctx, kms.UUID{byte(i), 1}, secret.Passphrase()); err != nil {
			t.Fatal(err)
		}
	}

	want, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}

	to, err := bolt.Open(filepath.Join(dir, "to.db"), true, server.Tables())
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	cuts := 0
	for ; ; cuts++ {
		err := refill(ctx, from, &ending{to, cuts})
		if err == nil {
			break
		}
		if !errors.Is(err, errEnded) {
			t.Fatalf("cut at write %d: %v", cuts, err)
		}
		if holds, err := ledger.Holds(to); err != nil || holds {
			t.Errorf("a copy that was cut off at write %d is taken for a KMS (%v)", cuts, err)
		}
	}

	if cuts < 10 {
		t.Errorf("the copy took %d writes; the test wants more", cuts)
	}
	if err := h.verify(to, want, false); err != nil {
		t.Error(err)
	}

	if err := refill(ctx, from, &ending{to, 2}); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	if holds, err := ledger.Holds(to); err != nil || holds {
		t.Errorf("a KMS whose replacement was cut off is taken for one (%v)", err)
	}
}
