package home

import (
	"context"
	"fmt"
	"path/filepath"

	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
)

// Salvage keeps what can be verified of a damaged database, after a copy of
// it was written to salvage-before.db in the data directory.
func (h Home) Salvage(ctx context.Context) (s ledger.Salvaged, err error) {
	if err := h.stopped(ctx, "salvaging"); err != nil {
		return s, err
	}
	if err := h.private(); err != nil {
		return s, fmt.Errorf("salvaging: %w", err)
	}
	st, err := h.openStore(ctx, false)
	if err != nil {
		return s, fmt.Errorf("salvaging: %w", err)
	}
	defer st.Close()

	f, err := datafile.Create(filepath.Join(h.Data, "salvage-before.db"))
	if err != nil {
		return s, fmt.Errorf("salvaging: keeping the database before: %w", err)
	}
	if err = st.Backup(f); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return s, fmt.Errorf("salvaging: keeping the database before: %w", err)
	}

	_, err = h.keeping().opening(ctx, func(key secret.Bytes) (_ *server.Server, err error) {
		s, err = server.Salvage(ctx, st, key, h.Mark())
		return nil, err
	})
	return s, err
}
