package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func kairosCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "kairos", Short: "List, approve and stop machines of Kairos", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Machines of Kairos are named by their TPMHash, which
"kcrypt-discovery-challenger" prints on them. "latchkey-kms apply" takes the
documents that say what they get.`,
	}
	c.AddCommand(kairosList(ask, out),
		kairosChange(ask, out, "approve", "Approve a machine that asked", `It gets the volume that it asked for last, with a passphrase of its own, and
from then on must boot what it booted then (PCRs 0, 7 and 11). Compare the
TPMHash with the machine first. For a machine that is approved already this
adds the volume that it asked for last.`),
		kairosChange(ask, out, "accept", "Accept what a machine booted last", "After an update of firmware or kernel, or after its TPM was cleared. Look at\nwhat changed first: an intruder's kernel looks the same to the KMS."),
		kairosChange(ask, out, "quarantine", "Stop a machine", "It gets nothing until it is readmitted."),
		kairosChange(ask, out, "readmit", "End a quarantine", "One that a SealedVolume orders ends by applying one that does not."),
		kairosChange(ask, out, "delete", "Refuse a machine for good", "Its TPM stays refused."))
	return c
}

func kairosList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List machines of Kairos, those that wait for approval first", Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var nodes []kairoskeeper.Node
			if err := ask.call(c.Context(), "GET", "/v1/kairos/nodes", nil, nil, &nodes); err != nil {
				return err
			}
			return out.show(c, nodes, func() { printKairos(c.OutOrStdout(), nodes) })
		},
	}
}

func printKairos(out io.Writer, nodes []kairoskeeper.Node) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "TPMHASH\tSTATE\tVOLUMES\tASKED FOR\tLAST ANSWER\tCHANGED\tLAST SEEN")
	for _, n := range nodes {
		asked := "-"
		if n.Shown != nil {
			asked = fmt.Sprintf("label=%q name=%q uuid=%q", n.Shown.Label, n.Shown.Name, n.Shown.UUID)
		}
		seen := "never"
		if !n.Last.IsZero() {
			seen = n.Last.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", n.Hash, n.Describe(), len(n.Partitions), asked, n.LastStatus, strings.Join(n.Change, ", "), seen)
	}
}

// kairosChange is a command that changes one machine.
func kairosChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " TPMHASH", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var n kairoskeeper.Node
			if err := ask.call(c.Context(), "POST", "/v1/kairos/"+verb, url.Values{"hash": {args[0]}}, nil, &n); err != nil {
				return err
			}
			return out.show(c, n, func() { fmt.Fprintf(c.OutOrStdout(), "%s: machine %s is %s\n", verb, n.Hash, n.Describe()) })
		},
	}
}
