package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/kms/ledger"
	"latchkey/kms/wrapping"
)

// adviseKey says where the key of a backup is: on a new host nobody knows
// that it is not in it.
func (h Home) adviseKey(err error) error {
	if !errors.Is(err, ledger.ErrWrappingKey) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, there := os.Stat(h.ownKey()); there == nil && errors.Is(err, ledger.ErrWrappingKey) {
		return fmt.Errorf("%w (it is of another key server, or was made under another wrapping key than %s, which the database that is there needs: name the right one with --wrapping-key; on a host where no server has run yet, move that file away and copy wrapping.key of the server that made the backup)", err, h.ownKey())
	}
	return fmt.Errorf("%w (a backup is opened by the wrapping key of the server that made it: copy wrapping.key from that server's data directory, "+
		"or from where you keep it, to %s with mode 0600, owned as the directory is, or name it with --wrapping-key)", err, h.ownKey())
}

// ownKey is the wrapping key that a server takes when nothing names another.
func (h Home) ownKey() string { return filepath.Join(h.Data, "wrapping.key") }

// oneKey refuses to restore by a key that a flag names beside another one in
// the data directory: a server that is started without the flag takes that
// one, and does not open the database.
func (h Home) oneKey(ctx context.Context) error {
	if h.Wrapping.None() {
		return nil
	}
	own, err := wrapping.ReadFile(h.ownKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer own.Wipe()

	k := h.keeping()
	used, err := k.read(ctx, k.material)
	if err != nil {
		return h.adviseKey(err)
	}
	defer used.Wipe()
	if used.Equal(own) {
		return nil
	}
	return fmt.Errorf("%s is another wrapping key than the one that is named, and a server without --wrapping-… would take it: "+
		"move it away, or put the named one in its place and restore without --wrapping-…; nothing was changed", h.ownKey())
}
