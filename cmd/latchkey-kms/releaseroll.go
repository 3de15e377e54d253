package main

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
)

func releaseRoll(ask *asker, out *output) *cobra.Command {
	var o release.Options
	var canary, failures, within string
	var stop, resume bool
	c := &cobra.Command{
		Use:   "roll NAME --group LABEL",
		Short: "Let the machines of a group boot a release, in waves",
		Long: `The key server updates no machine: it says which machines may boot the release
beside what they may boot anyway. First --canary of the group's machines may,
then five times as many, and so on. A machine came back when it booted the
release and reported that its volumes are open.

The next wave begins when enough machines of the wave came back: all but
--failures. The roll stops by itself when more than that fail (they boot the
release again without having opened their volumes, or go back), or when not
enough came back --within. Then no further machine may boot it; those that did
may go on to. --resume goes on with the wave, --stop stops by hand.

Give a machine the new image only when "release show" says that its wave is
open, or keep the old one beside it for the boot loader to fall back to.

--retire OLD retires the old release when all waves are through.`,
		Example: `  latchkey-kms release roll 2026.12 --group site=berlin --canary 5% --within 2h --failures 10%
  latchkey-kms release roll 2026.12 --group site=berlin --stop`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Group == "" || stop && resume {
				return cli.Usagef("--group is required, and either --stop or --resume")
			}
			if o.Canary, err = percent("canary", canary); err != nil {
				return err
			}
			if o.Failures, err = percent("failures", failures); err != nil {
				return err
			}
			if o.Within, err = policy.ParseDuration(within); err != nil {
				return cli.Usagef("--within: %w", err)
			}

			verb, query, body := "roll", url.Values{"name": args}, any(o)
			if stop || resume {
				verb, body = map[bool]string{true: "stop", false: "resume"}[stop], nil
				query.Set("group", o.Group)
			}
			var r lk1.ReleaseView
			if err := ask.call(c.Context(), "POST", "/v1/release/"+verb, query, body, &r); err != nil {
				return err
			}
			return out.show(c, r, func() { printRelease(c.OutOrStdout(), r) })
		},
	}
	c.Flags().StringVar(&o.Group, "group", "", "label of the group's machines: site=berlin (required)")
	c.Flags().StringVar(&canary, "canary", "5%", "share of the machines in the first wave")
	c.Flags().StringVar(&within, "within", "24h", "how long a wave may take: 2h, 3d")
	c.Flags().StringVar(&failures, "failures", "10%", "share of a wave's machines that may stay away")
	c.Flags().StringVar(&o.Retire, "retire", "", "release to retire when all waves are through")
	c.Flags().BoolVar(&stop, "stop", false, "stop the roll of this group")
	c.Flags().BoolVar(&resume, "resume", false, "go on with a roll that was stopped")
	return c
}

func percent(name, text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || !strings.HasSuffix(text, "%") {
		return 0, cli.Usagef("--%s %q: want a whole share, as in 5%%", name, text)
	}
	return n, nil
}
