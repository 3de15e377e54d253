package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
)

func siteSet(ask *asker, out *output) *cobra.Command {
	var b site.Bounds
	var offline string
	c := &cobra.Command{
		Use: "set NAME", Short: "Change what a site's server may give when it is cut off", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Changes the bounds of a site; what is not said stays as it was, and in all there
are releases times machines unless --in-all says otherwise. The site's server goes
by them once it hears of them, within a minute while it is not cut off. It is run
on the center's host.`,
		Example: `  latchkey-kms site set berlin --offline 24h
  latchkey-kms site set berlin --releases 2 --machines 60`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if c.Flags().Changed("offline") {
				if b.Offline, err = policy.ParseDuration(offline); err != nil {
					return cli.Usagef("--offline: %w", err)
				}
			}
			if b == (site.Bounds{}) {
				return cli.Usagef("say what is to change: --offline, --releases, --machines or --in-all")
			}
			var s site.Status
			if err := ask.call(c.Context(), "POST", "/v1/site/bounds", url.Values{"name": args}, b, &s); err != nil {
				return err
			}
			return out.show(c, s, func() { printSite(c.OutOrStdout(), s) })
		},
	}
	c.Flags().StringVar(&offline, "offline", "", "for how long it goes on when it is cut off, at most 30d")
	c.Flags().IntVar(&b.Releases, "releases", 0, "how often one machine gets its keys meanwhile")
	c.Flags().IntVar(&b.Machines, "machines", 0, "how many machines get theirs")
	c.Flags().IntVar(&b.InAll, "in-all", 0, "how often keys are given to all of them")
	return c
}
