package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/lk1"
)

func releaseCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "release", Short: "Add image releases, roll them out and retire them", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A release is what one build of an image measures. A machine that is approved in
a boot of a release is bound to it, and boots nothing else until its group is
moved to the next one. Releases can also be in the configuration file; these
are in the database and in its backup.`,
	}
	c.AddCommand(releaseAdd(ask, out), releaseList(ask, out), releaseShow(ask, out), releaseRoll(ask, out),
		releaseChange(ask, out, "retire", "Take a release back", `Machines that boot it get nothing from now on (pcr-mismatch), whether they are
bound to it or were approved with its values. "policy explain" names it.`),
		releaseChange(ask, out, "remove", "Forget a release that is retired", "A boot of it is then as unknown as any other."))
	return c
}

func releaseList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List releases", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms release list",
		RunE: func(c *cobra.Command, _ []string) error {
			var list []lk1.ReleaseView
			if err := ask.call(c.Context(), "GET", "/v1/releases", nil, nil, &list); err != nil {
				return err
			}
			return out.show(c, list, func() {
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				defer w.Flush()
				fmt.Fprintln(w, "NAME\tSTATE\tCOVERS\tBOUND\tBOOTED\tADDED")
				for _, r := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\n", r.Name, releaseState(r), r.Covers, r.Bound, r.Booted, r.Added.Local().Format("2006-01-02"))
				}
			})
		},
	}
}

func releaseState(r lk1.ReleaseView) string {
	switch {
	case r.Hidden:
		return "hidden by kms.yaml"
	case !r.Retired.IsZero():
		return "retired"
	}
	for _, roll := range r.Rolls {
		if roll.State != "done" {
			return string(roll.State)
		}
	}
	return "in use"
}

func releaseShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a release, and how far its rolls are", Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms release show 2026.12",
		RunE: func(c *cobra.Command, args []string) error {
			var r lk1.ReleaseView
			if err := ask.call(c.Context(), "GET", "/v1/release", url.Values{"name": {args[0]}}, nil, &r); err != nil {
				return err
			}
			return out.show(c, r, func() { printRelease(c.OutOrStdout(), r) })
		},
	}
}

func printRelease(w io.Writer, r lk1.ReleaseView) {
	fmt.Fprintf(w, "release:  %s, %s\nadded:    %s\n", r.Name, releaseState(r), r.Added.Local().Format("2006-01-02 15:04"))
	if !r.Retired.IsZero() {
		fmt.Fprintf(w, "retired:  %s\n", r.Retired.Local().Format("2006-01-02 15:04"))
	}
	if r.What != "" {
		fmt.Fprintf(w, "image:    %s\n", r.What)
	}
	for _, pcr := range []int{7, 11, 12} {
		if value, ok := r.PCRs[pcr]; ok {
			fmt.Fprintf(w, "value:    %d:sha256=%x\n", pcr, value)
		}
	}
	if len(r.Signed) > 0 {
		fmt.Fprintf(w, "value:    PCR 11, one of %d that are signed\n", len(r.Signed))
	}
	if c := r.Chain; c != nil {
		fmt.Fprintf(w, "value:    kernel %x, initrd %x, by %s\n", c.Programs[len(c.Programs)-1], c.Initrd, c.By())
		fmt.Fprintf(w, "value:    command line %s\n", c.CommandLine)
	}
	fmt.Fprintf(w, "machines: %d are bound to it, %d booted it last\n", r.Bound, r.Booted)
	for _, line := range r.Progress {
		fmt.Fprintf(w, "roll:     %s\n", line)
	}
}

// releaseChange is a command that changes one release.
func releaseChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms release " + verb + " 2026.11",
		RunE: func(c *cobra.Command, args []string) error {
			var r lk1.ReleaseView
			if err := ask.call(c.Context(), "POST", "/v1/release/"+verb, url.Values{"name": {args[0]}}, nil, &r); err != nil {
				return err
			}
			return out.show(c, r, func() {
				if verb == "remove" {
					fmt.Fprintf(c.OutOrStdout(), "removed release %s\n", args[0])
					return
				}
				printRelease(c.OutOrStdout(), r)
			})
		},
	}
}
