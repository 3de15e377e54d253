package main

import (
	"fmt"
	"io"
	"net/url"

	"latchkey/kms/ledger"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
)

func trustCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Print the keys that images must trust, and change the signing key",
		Long: `Prints the KMS' public keys as lines for latchkey.yaml. An image with these lines
trusts this KMS and no other. While one key replaces another, several are
printed: the first one signs for the machines that trust it.

To change the key:
  latchkey-kms trust add            add a key; build images that trust both
  latchkey-kms trust use KEY        sign with it, once the images are deployed
  latchkey-kms trust retire KEY     take the old key out of use; images that trust
                                    only that key no longer find a key server
  latchkey-kms trust undelete KEY   take that back, within its grace`,
		Example: `  latchkey-kms trust >> latchkey.yaml`,
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return showTrust(c, ask, out, "GET", "/v1/trust", nil) },
	}
	c.AddCommand(&cobra.Command{
		Use: "add", Short: "Add a signing key", Args: cli.Args(cobra.NoArgs),
		Long:    "The new key signs only for machines that trust none of the earlier ones.",
		Example: "  latchkey-kms trust add",
		RunE:    func(c *cobra.Command, _ []string) error { return showTrust(c, ask, out, "POST", "/v1/trust/add", nil) },
	}, trustChange(ask, out, "use", "Sign with a key from now on", "Machines that trust only another key are still answered with that one."),
		trustChange(ask, out, "retire", "Take a signing key out of use, and destroy it after a grace",
			"Images that trust only this key no longer find a key server. For 30 days\n(\"retention: deleted\" in kms.yaml) \"trust undelete\" gives it back."),
		trustChange(ask, out, "undelete", "Give back a signing key that was retired", "It is the last in order then. The audit log names keys that were retired."))
	return c
}

// trustChange is a command about one key.
func trustChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	now := false
	c := &cobra.Command{
		Use: verb + " KEY", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms trust " + verb + " lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=",
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := kms.ParsePin(args[0]); err != nil {
				return cli.Usagef("%w", err)
			}
			return showTrust(c, ask, out, "POST", "/v1/trust/"+verb, nowIn(url.Values{"key": {args[0]}}, now))
		},
	}
	if verb == "retire" {
		addNow(c.Flags(), &now)
	}
	return c
}

func showTrust(c *cobra.Command, ask *asker, out *output, method, path string, query url.Values) error {
	var t ledger.Trust
	if err := ask.call(c.Context(), method, path, query, nil, &t); err != nil {
		return err
	}
	return out.show(c, t, func() { printTrust(c.OutOrStdout(), t) })
}

func printTrust(w io.Writer, t ledger.Trust) {
	fmt.Fprintln(w, "trust:\n  kms:")
	for _, pin := range t.KMS {
		fmt.Fprintf(w, "    - %q\n", pin)
	}
}
