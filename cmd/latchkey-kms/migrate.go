package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
)

func storeMigrate(flags *config.Flags, out *output) *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use: "migrate --from STORE --to STORE", Short: "Move the KMS to another store", Args: cli.Args(cobra.NoArgs),
		Long: `Copies all records and the audit log into an empty store, and verifies them
before and after. The source is only read: keep it until the new store is in
use, then destroy it. Stop all servers first. The wrapping key stays the same;
exchanges in progress are lost, and machines ask again.

If the copy is interrupted, run the command again; it starts over. A server
does not accept a partial copy.`,
		Example: `  latchkey-kms store migrate --from bolt:/var/lib/latchkey-kms/kms.db --to etcd:https://a:2379,b:2379,c:2379
  latchkey-kms store migrate --to bolt:/srv/kms.db --from 'etcd:https://a:2379?ca=ca.pem&cert=kms.pem&key=kms.key'`,
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return cli.Usagef("--to is required: the empty store to move the KMS to")
			}
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			source, err := placeOf(h, from)
			if err != nil {
				return err
			}
			target, err := h.Parse(to)
			if err != nil {
				return err
			}

			r, err := h.Migrate(c.Context(), source, target)
			if err != nil {
				return fmt.Errorf("migrating: %w", err)
			}
			return out.show(c, r, func() {
				fmt.Fprintf(c.OutOrStdout(), "moved %d records and %d audit events, epoch %d; from now on serve with --store %s\n", r.Records, r.Events, r.Epoch, target)
			})
		},
	}

	c.Flags().StringVar(&from, "from", "", "where the KMS is now (default: --store)")
	c.Flags().StringVar(&to, "to", "", "empty store to move it to: bolt:PATH, etcd:URLS/PREFIX or kube:NAMESPACE")
	return c
}

// placeOf reads a place; "" is where the KMS of this command line is.
func placeOf(h home.Home, text string) (config.Place, error) {
	if text == "" {
		return h.Place, nil
	}
	return h.Parse(text)
}
