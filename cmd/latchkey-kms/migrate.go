package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server"
	"latchkey/kms/store"
)

func storeMigrate(o *options) *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use: "migrate --from STORE --to STORE", Short: "Move the KMS to another store", Args: cli.Args(cobra.NoArgs),
		Long: `Copies all records and the audit log into an empty store, and verifies them
before and after. The source is only read: keep it until the new one has
served, then destroy it. Stop all servers first. The wrapping key stays the
same; the challenges under way are lost, and machines ask again.

A copy that was cut off is no KMS; doing it again begins anew.`,
		Example: `  latchkey-kms store migrate --from bolt:/var/lib/latchkey-kms/kms.db --to etcd:https://a:2379,b:2379,c:2379
  latchkey-kms store migrate --to bolt:/srv/kms.db --from 'etcd:https://a:2379?ca=ca.pem&cert=kms.pem&key=kms.key'`,
		RunE: func(c *cobra.Command, _ []string) error {
			source, err := o.migrateFrom(from)
			if err != nil {
				return err
			}

			target, err := parsePlace(to, o.store)
			if err != nil {
				return err
			}

			r, err := o.migrate(c.Context(), source, target)
			if err != nil {
				return fmt.Errorf("migrating: %w", err)
			}
			return o.show(c, r, func() {
				fmt.Fprintf(c.OutOrStdout(), "moved %d records and %d audit events, epoch %d; serve from now on with --store %s\n", r.Records, r.Events, r.Epoch, target)
			})
		},
	}

	c.Flags().StringVar(&from, "from", "", "where the KMS is (default: --store)")
	c.Flags().StringVar(&to, "to", "", "where it is to be: bolt:PATH, etcd:URLS/PREFIX or kube:NAMESPACE, empty")
	return c
}

func (o *options) migrateFrom(from string) (place, error) {
	if from == "" {
		return o.place()
	}
	return parsePlace(from, o.store)
}

// migrate copies a verified KMS into an empty store and verifies that.
func (o *options) migrate(ctx context.Context, from, to place) (r server.Checked, err error) {
	if from.String() == to.String() {
		return r, cli.Usagef("--from and --to are the same store")
	}
	if err := o.stopped(ctx, "migrating"); err != nil {
		return r, err
	}

	lock, err := o.lock()
	if err != nil {
		return r, err
	}
	defer lock.Close()
	source, err := openPlace(ctx, from, false)
	if err != nil {
		return r, err
	}
	defer source.Close()
	s, err := o.openOn(server.Config{Store: source, Shared: from.shared(), Mark: o.mark()})
	if err != nil {
		return r, fmt.Errorf("%s: %w", from, err)
	}

	if r, err = s.Check(); err != nil {
		return r, err
	}
	return r, o.moveTo(ctx, source, to, r)
}

// moveTo fills the target. A file that it had to make goes again if it
// fails.
func (o *options) moveTo(ctx context.Context, source store.Store, to place, want server.Checked) (err error) {
	target, err := openPlace(ctx, to, true)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, target.Close())
		if err != nil && !to.shared() {
			os.Remove(to.path)
		}
	}()

	holds, err := server.Holds(target)
	if err != nil {
		return err
	}

	if holds {
		return fmt.Errorf("%s holds a KMS already; nothing was changed", to)
	}
	if err := refill(ctx, source, target); err != nil {
		return err
	}

	return o.verify(target, want, to.shared())
}
