package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	taloskeeper "latchkey/kms/server/talos/keeper"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server/policy"
)

func talosCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "talos", Short: "List, approve and quarantine machines of Talos Linux", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Machines of Talos are identified by the UUID in their firmware. They prove
nothing: anyone who knows a UUID and has the disk's header can ask as that
machine. Limit where they may ask from (--source).`,
	}

	var sources []string
	approve := talosChange(ask, out, &sources, "approve", "Approve a machine", `From now on it may seal and unseal. A machine that has not asked yet is
registered in advance.`)
	approve.Flags().Var(cli.List(&sources), "source", "network that it may ask from (192.0.2.0/24); repeatable; default: any")
	k := kin{protocol: policy.Talos, people: "Talos", arg: "UUID", param: "uuid", example: "4c4c4544-0042-3510-8052-b4c04f4d3632", releases: "unseal", stores: "seal", check: checkUUID}
	c.AddCommand(talosList(ask, out), approve, k.setCommand(ask, out), k.explainCommand(ask, out),
		talosChange(ask, out, nil, "renew", "Renew an approval", "For a machine that was silent for longer than it may be; and outside the windows of\na machine with outside: approve it lets it through for an hour."),
		talosChange(ask, out, nil, "quarantine", "Refuse a machine until it is readmitted", "For a machine that was stolen, or that you no longer trust."),
		talosChange(ask, out, nil, "readmit", "Lift a quarantine", "The machine may seal and unseal again."),
		talosChange(ask, out, nil, "delete", "Refuse a machine until it is undeleted", "Its UUID stays refused."),
		talosChange(ask, out, nil, "undelete", "Let a machine that was deleted ask for approval again", "It waits for approval; what it sealed opens again once it is approved."),
		keyCommand(ask, out, "talos", func() string { return "talos" }, "List, rotate and retire the key that seals for machines of Talos"))

	return c
}

func talosList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List machines of Talos, pending ones first", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms talos list",
		RunE: func(c *cobra.Command, _ []string) error {
			var nodes []taloskeeper.Node
			if err := ask.call(c.Context(), "GET", "/v1/talos/nodes", nil, nil, &nodes); err != nil {
				return err
			}
			return out.show(c, nodes, func() { printTalos(c.OutOrStdout(), nodes) })
		},
	}
}

func printTalos(out io.Writer, nodes []taloskeeper.Node) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "UUID\tSTATE\tFROM\tMAY ASK FROM\tLAST ANSWER\tLAST SEEN")
	for _, n := range nodes {
		from, within, seen := "-", "anywhere", "never"
		if n.From.IsValid() {
			from = n.From.String()
		}
		if len(n.Sources) > 0 {
			within = fmt.Sprint(n.Sources)
		}
		if !n.Last.IsZero() {
			seen = n.Last.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.UUID, n.Describe(), from, within, answered(n.LastStatus, n.LastReason), seen)
	}
}

func checkUUID(text string) error {
	if _, err := kms.ParseUUID(text); err != nil {
		return cli.Usagef("%w", err)
	}
	return nil
}

// talosChange is a command that changes one machine; sources are those of its
// flag, if it has one.
func talosChange(ask *asker, out *output, sources *[]string, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " UUID", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms talos " + verb + " 4c4c4544-0042-3510-8052-b4c04f4d3632",
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkUUID(args[0]); err != nil {
				return err
			}
			query := url.Values{"uuid": {args[0]}}
			if sources != nil {
				query["source"] = *sources
			}
			var n taloskeeper.Node
			if err := ask.call(c.Context(), "POST", "/v1/talos/"+verb, query, nil, &n); err != nil {
				return err
			}
			return out.show(c, n, func() { printStanding(c.OutOrStdout(), n.UUID.String(), n.Describe(), n.Needs) })
		},
	}
}
