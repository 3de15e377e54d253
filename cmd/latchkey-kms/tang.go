package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/operator"
	tangkeeper "latchkey/kms/server/tang/keeper"
)

func tangCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "tang", Short: "Serve the clients of tang (clevis): keys, clients, moving over", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `With the protocol "tang" ("serve --protocol lk1,tang", or listen[].protocols) the
server answers as tangd does. To move from tangd, import its keys and let its
name lead to this server: clients notice nothing.

The protocol is open to all who reach the server: it keeps a disk closed that
has left the network, and knows no machine from another. Limit the networks
("tang" in the configuration), and give machines that may have to be stopped
alone keys of their own ("tang key new").`,
	}
	key := &cobra.Command{
		Use: "key", Short: "List, rotate, hide and retire keys; make and revoke those of one client", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A signing key vouches for what is advertised; clients encrypt to an exchange key,
and ask for it at each boot. A hidden key is not advertised any more, and still
answered; one that is retired is not, and is destroyed when its grace has ended
(30 days, "retention: deleted" in kms.yaml): disks that nothing else opens are
lost with it. Until then "undelete" gives it back.`,
	}
	key.AddCommand(tangList(ask, out), tangRotate(ask, out),
		tangKeyChange(ask, out, "hide", "Advertise a key no more", "Who encrypted to it is still answered. So does a dot before tang's file."),
		tangKeyChange(ask, out, "show", "Advertise a hidden key again", "It is advertised beside those that are."),
		tangKeyChange(ask, out, "retire", "Take a hidden key out of use, and destroy it after a grace", `What was encrypted to it is lost: see first that "clevis luks report" finds
nothing on all machines, and that the audit log has no recovery by it.`),
		tangKeyChange(ask, out, "undelete", "Give back a retired key", "Within its grace. It is hidden then, and answered."),
		tangNew(ask, out),
		tangClient(ask, out, "revoke", "Refuse one client that has keys of its own", "At once, and nobody else. Its keys stay until they are retired."),
		tangClient(ask, out, "readmit", "End a revocation", "The client is answered again."))
	c.AddCommand(key, tangImport(ask, out), tangExport(ask, out))
	return c
}

func tangList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List keys", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms tang key list",
		RunE: func(c *cobra.Command, _ []string) error {
			return tangKeys(ask, out, c, "GET", "keys", nil)
		},
	}
}

// tangKeys asks one thing, and prints the keys.
func tangKeys(ask *asker, out *output, c *cobra.Command, method, verb string, query url.Values) error {
	var keys []tangkeeper.Key
	if err := ask.call(c.Context(), method, "/v1/tang/"+verb, query, nil, &keys); err != nil {
		return err
	}
	return out.show(c, keys, func() { printTang(c.OutOrStdout(), keys) })
}

func printTang(out io.Writer, keys []tangkeeper.Key) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "THUMBPRINT\tFOR\tUSE\tALG\tSTATE\tSINCE\tMAY ASK FROM")
	for _, k := range keys {
		of, within := "everybody", "anywhere"
		if k.Client != "" {
			of = k.Client
		}
		if len(k.Sources) > 0 {
			within = fmt.Sprint(k.Sources)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Thumbprint, of, k.Use, k.Alg, k.State+keptUntil(k.Until), k.Changed.Local().Format("2006-01-02 15:04"), within)
	}
}

func tangRotate(ask *asker, out *output) *cobra.Command {
	var of, curve string
	c := &cobra.Command{
		Use: "rotate", Short: "Make new keys, and hide those that there are",
		Long: `Does what tangd-rotate-keys does. Clients that encrypted to the old keys are
answered as before; "clevis luks report" on them finds the new keys, and
"clevis luks regen" encrypts to them.`,
		Example: "  latchkey-kms tang key rotate",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return tangKeys(ask, out, c, "POST", "rotate", url.Values{"for": {of}, "curve": {curve}})
		},
	}
	c.Flags().StringVar(&of, "for", "", "client whose keys are meant (default: everybody's)")
	tangCurve(c, &curve)
	return c
}

func tangCurve(c *cobra.Command, curve *string) {
	c.Flags().StringVar(curve, "curve", "P-521", "of the exchange key: P-521 as tang's, P-384 or P-256, by which the server answers ten times as many")
}

func tangKeyChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	now := false
	c := &cobra.Command{
		Use: verb + " THUMBPRINT", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms tang key " + verb + " EYtr00e4cJ-l-khu48rkPgqljVYbmsPf0jc3DhDQftc",
		RunE: func(c *cobra.Command, args []string) error {
			return tangKeys(ask, out, c, "POST", verb, nowIn(url.Values{"key": {args[0]}}, now))
		},
	}
	if verb == "retire" {
		addNow(c.Flags(), &now)
	}
	return c
}

func tangNew(ask *asker, out *output) *cobra.Command {
	var of, curve string
	var sources []string
	c := &cobra.Command{
		Use: "new --for NAME", Short: "Make keys for one client",
		Long: `The keys are advertised and answered below /for/NAME only: bind the client's disk
with the URL http://SERVER/for/NAME. Then "tang key revoke NAME" stops it alone.`,
		Example: `  latchkey-kms tang key new --for web-7 --source 192.0.2.0/24
  # on the machine: clevis luks bind -d /dev/sda2 tang '{"url":"http://kms.example.org:7741/for/web-7"}'`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if of == "" {
				return cli.Usagef("--for is required: a name for the client, such as its host name")
			}
			return tangKeys(ask, out, c, "POST", "new", url.Values{"for": {of}, "curve": {curve}, "source": sources})
		},
	}
	c.Flags().StringVar(&of, "for", "", "name of the client: small letters, digits, - and .")
	tangCurve(c, &curve)
	c.Flags().Var(cli.List(&sources), "source", "network that it may ask from (192.0.2.0/24); repeatable; default: any")
	return c
}

func tangClient(ask *asker, out *output, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms tang key " + verb + " web-7",
		RunE: func(c *cobra.Command, args []string) error {
			return tangKeys(ask, out, c, "POST", verb, url.Values{"for": {args[0]}})
		},
	}
}

func tangImport(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "import DIR", Short: "Take the keys of a tangd",
		Long: `Takes all keys of a tangd's directory (Debian, Fedora: /var/db/tang), or none.
Those whose file begins with a dot stay hidden. Keys are EC on P-256, P-384 or
P-521; one that is not is an error, as is one that was retired here.`,
		Example: "  latchkey-kms tang import /var/db/tang",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			files, err := operator.ReadTang(args[0])
			if err != nil {
				return err
			}
			var done []tangkeeper.Imported
			if err := ask.call(c.Context(), "POST", "/v1/tang/import", nil, tangkeeper.Files{Files: files}, &done); err != nil {
				return err
			}
			return out.show(c, done, func() {
				for _, one := range done {
					fmt.Fprintf(c.OutOrStdout(), "%s %s\n", one.Thumbprint, one.Action)
				}
			})
		},
	}
}

func tangExport(ask *asker, out *output) *cobra.Command {
	var of string
	c := &cobra.Command{
		Use: "export DIR", Short: "Write the keys as tangd has them",
		Long: `Writes the keys, in clear, into a directory that has none, for a tangd: chown
them to its user. What was exported is not kept secret by this server any more;
rotate where that matters.`,
		Example: "  latchkey-kms tang export tang-keys",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var got tangkeeper.Files
			if err := ask.call(c.Context(), "POST", "/v1/tang/export", url.Values{"for": {of}}, nil, &got); err != nil {
				return err
			}
			if err := operator.WriteTang(args[0], got.Files); err != nil {
				return err
			}
			return out.show(c, struct {
				Keys int `json:"keys"`
			}{len(got.Files)}, func() { fmt.Fprintf(c.OutOrStdout(), "wrote %d keys to %s\n", len(got.Files), args[0]) })
		},
	}
	c.Flags().StringVar(&of, "for", "", "client whose keys are meant (default: everybody's)")
	return c
}
