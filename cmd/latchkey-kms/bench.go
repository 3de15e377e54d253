package main

import (
	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func benchCommand(o *options) *cobra.Command {
	b := &load{}
	c := &cobra.Command{
		Use: "bench", Short: "Measure how many machines this host can serve",
		Long: `Starts a KMS of its own in a temporary directory, lets machines with software
TPMs ask it, and prints what it answers per second of one core, the audit log
on stable storage included, beside what the bare public-key operations of the
same exchange allow on that core in the same run. Keys of machines are made
beforehand. Nothing else is touched.`,
		Example: `  latchkey-kms bench --nodes 1000 --seconds 5
  latchkey-kms bench --protocol lk1,kairos,talos --json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := b.run(c.Context())
			if err != nil {
				return err
			}
			return o.show(c, r, func() { r.print(c.OutOrStdout()) })
		},
	}

	c.Flags().IntVar(&b.nodes, "nodes", 1000, "machines; up to 1,000 of them ask at once")
	c.Flags().StringSliceVar(&b.protocols, "protocol", []string{"lk1", "kairos", "talos"}, "what they speak: lk1, kairos, talos")
	c.Flags().IntVar(&b.seconds, "seconds", 3, "length of the steady run, in seconds")
	return c
}
