package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"latchkey/kms/ledger"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// keyCommand lists, rotates and retires the versions of one key.
func keyCommand(ask *asker, out *output, of string, name func() string, short string) *cobra.Command {
	c := &cobra.Command{
		Use: "key", Short: short, Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A key has versions. The newest one seals; every version opens what it sealed,
until it is retired. What a retired version sealed is lost, unless "undelete"
gives it back: within 30 days ("retention: deleted" in kms.yaml), then it is
destroyed.`,
	}
	versions := func(use, short, example, method, path string, args int) *cobra.Command {
		now := false
		c := &cobra.Command{
			Use: use, Short: short, Args: cli.Args(cobra.ExactArgs(args)), Example: "  latchkey-kms " + of + " key " + example,
			RunE: func(c *cobra.Command, args []string) error {
				query := nowIn(url.Values{"key": {name()}}, now)
				if len(args) > 0 {
					query.Set("version", args[0])
				}
				var keys []ledger.KeyVersion
				if err := ask.call(c.Context(), method, path, query, nil, &keys); err != nil {
					return err
				}
				return out.show(c, keys, func() { printKeys(c.OutOrStdout(), keys) })
			},
		}
		if strings.HasPrefix(use, "retire") {
			addNow(c.Flags(), &now)
		}
		return c
	}
	c.AddCommand(
		versions("list", "List the versions", "list", "GET", "/v1/keys", 0),
		versions("rotate", "Add a version, which seals from now on", "rotate", "POST", "/v1/keys/rotate", 0),
		versions("retire VERSION", "Take out of use, later destroy, a version that is not the newest", "retire 1", "POST", "/v1/keys/retire", 1),
		versions("undelete VERSION", "Give back a version that was retired", "undelete 1", "POST", "/v1/keys/undelete", 1))

	return c
}

func printKeys(out io.Writer, keys []ledger.KeyVersion) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "KEY\tVERSION\tCREATED\tSTATE\tMACHINES (30 DAYS)")
	for _, k := range keys {
		state := "opens"
		switch {
		case k.Current:
			state = "seals and opens"
		case k.Retired != nil:
			state = "retired " + k.Retired.Local().Format("2006-01-02") + keptUntil(k.Until)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\n", k.Ring, k.Version, k.Created.Local().Format("2006-01-02 15:04"), state, k.Users)
	}
}

// keptUntil says how long what is out of use can be had again.
func keptUntil(t *time.Time) string {
	if t == nil {
		return ""
	}
	return ", kept until " + t.Local().Format("2006-01-02 15:04")
}
