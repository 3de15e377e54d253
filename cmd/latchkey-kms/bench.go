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
TPMs ask it, and prints whole exchanges per second beside the bare public-key
operations of the same processor in the same run. Nothing else is touched.`,
		Example: "  latchkey-kms bench --nodes 1000 --seconds 5",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := b.run(c.Context())
			if err != nil {
				return err
			}
			return o.show(c, r, func() { r.print(c.OutOrStdout()) })
		},
	}
	c.Flags().IntVar(&b.nodes, "nodes", 1000, "machines that ask at once")
	c.Flags().IntVar(&b.seconds, "seconds", 3, "length of the steady run, in seconds")
	return c
}
