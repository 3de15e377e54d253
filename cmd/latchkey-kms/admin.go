package main

import (
	"fmt"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"latchkey/kms/admin"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/policy"
)

func adminCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "admin", Short: "Manage who may administer over HTTPS", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Anyone who can open the socket in the data directory is an administrator. With
a section "admin" in the configuration (or --admin-listen) the administration
is available over HTTPS, too, with a token or with a client certificate that is
listed there.`,
	}

	token := &cobra.Command{Use: "token", Short: "Create, list and revoke tokens", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group}
	token.AddCommand(tokenCreate(ask, out), tokenList(ask, out), tokenRevoke(ask, out))
	c.AddCommand(token, signOutAll(ask, out), &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI document of the administration", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms admin openapi",
		RunE: func(c *cobra.Command, _ []string) error {
			return ask.call(c.Context(), "GET", "/v1/openapi.json", nil, nil, c.OutOrStdout())
		},
	})

	return c
}

func tokenCreate(ask *asker, out *output) *cobra.Command {
	var scope, expires, output string
	var labels []string
	c := &cobra.Command{
		Use: "create NAME", Short: "Create a token",
		Long: `Creates a token and writes it to a file, mode 0600. It is not shown again: the
KMS keeps only its hash. Scopes: read sees everything but secrets; approve also
approves, accepts, quarantines and readmits machines; admin may do everything.
Every use is in the audit log, with the token's name. With --label it is for the
machines that have that label, or one of several: for who has the token there are
no others.`,
		Example: `  latchkey-kms admin token create dashboard --scope read --expires 90d --output dashboard.token
  latchkey-kms admin token create berlin --scope approve --label site=berlin --output berlin.token
  latchkey-kms node list --server https://kms.example.org:7743 --token-file dashboard.token`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			life, err := policy.ParseDuration(expires)
			if err != nil {
				return cli.Usagef("--expires: %w", err)
			}

			if output == "" {
				return cli.Usagef("--output is required: the file to create for the token")
			}
			f, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("writing the token: %w", err)
			}
			defer f.Close()
			var made admin.IssuedToken
			want := admin.NewToken{Name: args[0], Scope: admin.Scope(scope), Expires: time.Now().Add(time.Duration(life)), Labels: labels}
			if err := ask.call(c.Context(), "POST", "/v1/token/create", nil, want, &made); err != nil {
				os.Remove(output)
				return err
			}

			if _, err := f.WriteString(made.Secret + "\n"); err != nil {
				return fmt.Errorf("writing the token: %w", err)
			}
			return out.show(c, made.Token, func() {
				fmt.Fprintf(c.OutOrStdout(), "wrote token %s, scope %s, %s, valid until %s, to %s\n", made.Name, made.Scope, made.Labels, made.Expires.Local().Format("2006-01-02 15:04"), output)
			})
		},
	}

	c.Flags().StringVar(&scope, "scope", "read", "read, approve or admin")
	c.Flags().StringArrayVar(&labels, "label", nil, "only for machines with this label, as in site=berlin; may be repeated")
	c.Flags().StringVar(&expires, "expires", "90d", "how long it is valid, at most a year: 12h, 90d")
	c.Flags().StringVar(&output, "output", "", "file to create for the token")
	return c
}

func tokenList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms admin token list",
		RunE: func(c *cobra.Command, _ []string) error {
			var tokens []admin.Token
			if err := ask.call(c.Context(), "GET", "/v1/tokens", nil, nil, &tokens); err != nil {
				return err
			}
			return out.show(c, tokens, func() {
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				defer w.Flush()
				fmt.Fprintln(w, "NAME\tSCOPE\tFOR\tCREATED\tEXPIRES")
				for _, t := range tokens {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Name, t.Scope, t.Labels, t.Created.Local().Format("2006-01-02"), t.Expires.Local().Format("2006-01-02 15:04"))
				}
			})
		},
	}
}

func tokenRevoke(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Revoke a token at once", Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms admin token revoke dashboard",
		RunE: func(c *cobra.Command, args []string) error {
			var done struct{}
			if err := ask.call(c.Context(), "POST", "/v1/token/revoke", url.Values{"name": {args[0]}}, nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { fmt.Fprintf(c.OutOrStdout(), "revoked token %s\n", args[0]) })
		},
	}
}

// signOutAll ends everybody's sessions in a browser.
func signOutAll(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "sign-out-all", Short: "Sign everybody out of the pages", Args: cli.Args(cobra.NoArgs),
		Long: `Ends the sessions of all people in a browser, on all key servers of the store.
They can sign in again: revoke their tokens, or change the provider's groups, if
they must not.`,
		Example: "  latchkey-kms admin sign-out-all",
		RunE: func(c *cobra.Command, _ []string) error {
			var done struct{}
			if err := ask.call(c.Context(), "POST", "/v1/sessions/end", nil, nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { fmt.Fprintln(c.OutOrStdout(), "everybody is signed out") })
		},
	}
}
