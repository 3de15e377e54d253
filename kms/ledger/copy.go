package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"

	"latchkey/kms/store"
)

// CheckCopy verifies a copy of this database, as Check does the database
// itself. It is no older than it was when it was made; the mark may be ahead.
func (l *Ledger) CheckCopy(copied store.Store) (Checked, error) {
	of := &Ledger{
		store: copied, chain: l.chain, name: l.name, tables: l.tables, keyrings: l.keyrings, log: l.log, observe: l.observe,
		mark: noMark{}, segmentEvents: l.segmentEvents, sealLimit: l.sealLimit,
	}
	of.keys.Store(l.keys.Load())
	return of.Check()
}

// noMark is one that any position reaches.
type noMark struct{}

// Read implements Mark.
func (noMark) Read() (Position, error) { return Position{}, nil }

// Write implements Mark.
func (noMark) Write(Position) error { return fs.ErrPermission }

// HasEvent tells whether the log has an event of another copy of it.
func (v View) HasEvent(e Event) bool {
	raw, err := hex.DecodeString(e.Server)
	if err != nil {
		return false
	}
	row := v.r.Get(tableAudit, append(seqKey(e.Seq), raw...))
	body, err := json.Marshal(e)
	return err == nil && len(row) > 32 && bytes.Equal(row[32:], body)
}
