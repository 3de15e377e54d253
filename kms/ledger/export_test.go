package ledger

import (
	"context"
	"testing"

	"latchkey/internal/secret"
)

// SetFormat writes another record of the format.
func SetFormat(t *testing.T, l *Ledger, n int) {
	t.Helper()
	err := l.Update(t.Context(), func(tx *Txn) error {
		return tx.put(tableMeta, keyFormat, format{n, n}.encode())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// EditSegment writes a segment's record as only who has the keys can.
func EditSegment(t *testing.T, l *Ledger, number uint64, edit func(*Segment)) {
	t.Helper()
	err := l.Update(t.Context(), func(tx *Txn) error {
		s, err := tx.View.segment("", number)
		if err != nil {
			return err
		}
		edit(&s)
		return tx.Save(tableSegments, segmentKey("", number), s)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Due seals, archives and removes what is due.
func (l *Ledger) Due(ctx context.Context) { l.due(ctx) }

// LookAtKeys does what WatchDataKeys does once.
func (l *Ledger) LookAtKeys(ctx context.Context) (changing bool) { return l.lookAtKeys(ctx) }

// GetKeys gets the data keys that others have added.
func (l *Ledger) GetKeys(ctx context.Context) error { return l.getKeys(ctx) }

// SealedWith is how many records name a data key, and how many do in all.
func SealedWith(t *testing.T, l *Ledger, id uint32) (n int) {
	t.Helper()
	if err := l.Read(func(v View) error { v.sealedWith(id, func(sealedRow) { n++ }); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Unwraps are the data keys that a wrapping key opens.
func Unwraps(wrapping secret.Bytes, raw []byte) (ids []uint32) {
	row, err := readKeyRow(raw)
	if err != nil {
		return nil
	}
	for _, w := range row.Keys {
		if key, err := w.unwrap(wrapping); err == nil {
			key.Wipe()
			ids = append(ids, w.ID)
		}
	}
	return ids
}

// DropKey removes a data key, as who has seen that nothing is sealed with it.
func DropKey(t *testing.T, l *Ledger, id uint32) {
	t.Helper()
	if err := l.updateAs(t.Context(), l.server, func(tx *Txn) error { return tx.dropKey(id) }); err != nil {
		t.Fatal(err)
	}
}

// UseKey has the newest data key seal.
func UseKey(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.updateAs(t.Context(), l.server, (*Txn).useKey); err != nil {
		t.Fatal(err)
	}
}
