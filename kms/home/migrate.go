package home

import (
	"context"
	"errors"
	"fmt"
	"os"

	"latchkey/kms/ledger"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/store"
)

// Migrate copies a verified KMS into an empty store and verifies that.
func (h Home) Migrate(ctx context.Context, from, to config.Place) (r ledger.Checked, err error) {
	if from.String() == to.String() {
		return r, cli.Usagef("--from and --to are the same store")
	}
	if err := h.stopped(ctx, "migrating"); err != nil {
		return r, err
	}

	lock, err := h.lock()
	if err != nil {
		return r, err
	}
	defer lock.Close()
	source, err := openPlace(ctx, from, false)
	if err != nil {
		return r, err
	}
	defer source.Close()
	s, err := h.openOn(server.Config{Store: source, Shared: from.Shared(), Mark: h.Mark()})
	if err != nil {
		return r, fmt.Errorf("%s: %w", from, err)
	}

	if r, err = s.Check(); err != nil {
		return r, err
	}
	return r, h.moveTo(ctx, source, to, r)
}

// moveTo fills the target. A file that it had to make goes again if it
// fails.
func (h Home) moveTo(ctx context.Context, source store.Store, to config.Place, want ledger.Checked) (err error) {
	target, err := openPlace(ctx, to, true)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, target.Close())
		if err != nil && !to.Shared() {
			os.Remove(to.Path)
		}
	}()

	holds, err := ledger.Holds(target)
	if err != nil {
		return err
	}

	if holds {
		return fmt.Errorf("%s already holds a KMS; nothing was changed", to)
	}
	if err := refill(ctx, source, target); err != nil {
		return err
	}

	return h.verify(target, want, to.Shared())
}
