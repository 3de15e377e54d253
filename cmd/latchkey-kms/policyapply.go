package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/server/rulebook"
)

func policyApply(ask *asker, out *output) *cobra.Command {
	var path string
	var dry, yes bool
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Make a file's policy that of all servers on the store", Args: cli.Args(cobra.NoArgs),
		Long: `Reads the section "policy" of a configuration file, with the files that it
names, shows how it differs from the policy in the store, and puts it there.
From then on all key servers on the store judge by it, from their next decision
on, and not by the policy in their own files. Each edition is kept: see "policy
list" and "policy revert".

Where the policy says approvals: 2, two people must apply the same.`,
		Example: `  latchkey-kms policy apply -f kms.yaml --dry-run
  latchkey-kms policy apply -f kms.yaml`,
		RunE: func(c *cobra.Command, _ []string) error {
			if path == "" {
				return cli.Usagef("-f FILE is required: a configuration file with a section policy")
			}
			p, err := config.ReadPolicy(path)
			if err != nil {
				return err
			}
			var now rulebook.Edition
			if err := ask.call(c.Context(), "GET", "/v1/policy", nil, nil, &now); err != nil {
				return err
			}
			next := rulebook.NewEdition{Text: string(p.Text), Files: p.Files}
			if !now.ToFile {
				next.Base = now.Number
			}
			printDifference(c.ErrOrStderr(), path, now, next)
			switch {
			case dry:
				return nil
			case !yes && terminal(c):
				if err := confirm(c, "make this the policy of all servers on the store?"); err != nil {
					return err
				}
			}
			var done rulebook.Applied
			if err := ask.call(c.Context(), "POST", "/v1/policy/apply", nil, next, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { printApplied(c.OutOrStdout(), done) })
		},
	}
	c.Flags().StringVarP(&path, "filename", "f", "", "configuration file with a section policy")
	c.Flags().BoolVar(&dry, "dry-run", false, "show the difference and change nothing")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask on a terminal whether this is meant")
	return c
}

// printDifference shows what another edition changes.
func printDifference(w io.Writer, path string, now rulebook.Edition, next rulebook.NewEdition) {
	before := fmt.Sprintf("edition %d", now.Number)
	if next.Base == 0 {
		before, now = "nothing in the store", rulebook.Edition{}
	}
	w.Write(diff.Diff(before, []byte(now.Text), path, []byte(next.Text)))
	names := map[string]bool{}
	for name := range now.Files {
		names[name] = true
	}
	for name := range next.Files {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, had := now.Files[name]
		file, has := next.Files[name]
		switch {
		case !had:
			fmt.Fprintf(w, "with the file %s, %d bytes\n", name, len(file))
		case !has:
			fmt.Fprintf(w, "without the file %s\n", name)
		case string(old) != string(file):
			fmt.Fprintf(w, "with another file %s: %d bytes, before %d\n", name, len(file), len(old))
		}
	}
}

func printApplied(w io.Writer, a rulebook.Applied) {
	switch {
	case a.Needs != "":
		fmt.Fprintf(w, "NOT done yet: %s\n", a.Needs)
	case a.Same:
		fmt.Fprintln(w, "the store says so already")
	default:
		fmt.Fprintf(w, "edition %d holds\n", a.Number)
	}
}

func policyShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show [EDITION]", Short: "Show the policy in the store", Args: cli.Args(cobra.MaximumNArgs(1)),
		Long:    `Prints the policy in the store, or an earlier edition of it, as YAML.`,
		Example: "  latchkey-kms policy show",
		RunE: func(c *cobra.Command, args []string) error {
			query, err := edition(args)
			if err != nil {
				return err
			}
			var e rulebook.Edition
			if err := ask.call(c.Context(), "GET", "/v1/policy", query, nil, &e); err != nil {
				return err
			}
			return out.show(c, e, func() {
				if e.Number == 0 || e.ToFile {
					fmt.Fprintln(c.OutOrStdout(), "# nothing in the store: each server's configuration file holds")
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "# edition %d, %s, by %s\n%s", e.Number, e.At.Format("2006-01-02 15:04"), e.Who, e.Text)
				for _, name := range slices.Sorted(maps.Keys(e.Files)) {
					fmt.Fprintf(c.OutOrStdout(), "# with the file %s, %d bytes\n", name, len(e.Files[name]))
				}
			})
		},
	}
}

func policyList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the editions of the policy in the store", Args: cli.Args(cobra.NoArgs),
		Long: "Lists the last hundred editions, the newest first: when, by whom.", Example: "  latchkey-kms policy list",
		RunE: func(c *cobra.Command, _ []string) error {
			var all []rulebook.Edition
			if err := ask.call(c.Context(), "GET", "/v1/policy/editions", nil, nil, &all); err != nil {
				return err
			}
			return out.show(c, all, func() {
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				defer w.Flush()
				fmt.Fprintln(w, "EDITION\tAT\tBY\tWHAT")
				for _, e := range all {
					what := "applied"
					if e.ToFile {
						what = "each server's file again"
					} else if e.Of > 0 {
						what = fmt.Sprintf("edition %d again", e.Of)
					}
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", e.Number, e.At.Local().Format("2006-01-02 15:04"), cmp.Or(e.Who, "-"), what)
				}
			})
		},
	}
}

func policyRevert(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "revert EDITION | file", Short: "Bring an earlier edition of the policy back", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Puts an earlier edition of the policy into the store again, as a new one. With
the word "file" each server goes by its own configuration file again.`,
		Example: "  latchkey-kms policy revert 1\n  latchkey-kms policy revert file",
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{"number": {"0"}}
			if args[0] != "file" {
				var err error
				if query, err = edition(args); err != nil {
					return err
				}
			}
			var done rulebook.Applied
			if err := ask.call(c.Context(), "POST", "/v1/policy/revert", query, nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { printApplied(c.OutOrStdout(), done) })
		},
	}
}

// edition is the query that names one.
func edition(args []string) (url.Values, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if n, err := strconv.ParseUint(args[0], 10, 32); err != nil || n == 0 {
		return nil, cli.Usagef("%q is no number of an edition: see policy list", args[0])
	}
	return url.Values{"number": {args[0]}}, nil
}
