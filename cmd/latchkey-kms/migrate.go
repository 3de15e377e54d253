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
before and after. The source is only read: keep it until the new one has
served, then destroy it. Stop all servers first. The wrapping key stays the
same; the challenges under way are lost, and machines ask again.

A copy that was cut off is no KMS; doing it again begins anew.`,
		Example: `  latchkey-kms store migrate --from bolt:/var/lib/latchkey-kms/kms.db --to etcd:https://a:2379,b:2379,c:2379
  latchkey-kms store migrate --to bolt:/srv/kms.db --from 'etcd:https://a:2379?ca=ca.pem&cert=kms.pem&key=kms.key'`,
		RunE: func(c *cobra.Command, _ []string) error {
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
				fmt.Fprintf(c.OutOrStdout(), "moved %d records and %d audit events, epoch %d; serve from now on with --store %s\n", r.Records, r.Events, r.Epoch, target)
			})
		},
	}

	c.Flags().StringVar(&from, "from", "", "where the KMS is (default: --store)")
	c.Flags().StringVar(&to, "to", "", "where it is to be: bolt:PATH, etcd:URLS/PREFIX or kube:NAMESPACE, empty")
	return c
}

// placeOf reads a place; "" is where the KMS of this command line is.
func placeOf(h home.Home, text string) (config.Place, error) {
	if text == "" {
		return h.Place, nil
	}
	return h.Parse(text)
}
