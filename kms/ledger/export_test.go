package ledger

import (
	"context"
	"testing"
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
