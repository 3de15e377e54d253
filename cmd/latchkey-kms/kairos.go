package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/policy"
)

func kairosCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "kairos", Short: "List, approve and quarantine machines of Kairos", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Machines of Kairos are identified by their TPMHash, which
"kcrypt-discovery-challenger" prints on them. "latchkey-kms apply" applies the
documents that say what they get.`,
	}
	k := kin{protocol: policy.Kairos, people: "Kairos", arg: "TPMHASH", param: "hash", example: "8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589", releases: "get", stores: "put", check: checkHash}
	c.AddCommand(kairosList(ask, out), k.setCommand(ask, out), k.explainCommand(ask, out),
		kairosChange(ask, out, "approve", "Approve a pending machine", `The machine gets the volume that it asked for last, with a passphrase of its own,
and from then on must boot what it had booted then (PCRs 0, 7 and 11). Compare
the TPMHash with the machine first. If the machine is approved already, this
adds the volume that it asked for last.`),
		kairosChange(ask, out, "accept", "Accept the boot state that a machine showed last", "For use after an update of firmware or kernel, or after its TPM was cleared. Look\nat \"kairos list\" first: to the KMS an intruder's kernel looks the same as your\nupdate."),
		kairosChange(ask, out, "renew", "Renew an approval", "For a machine that was silent for longer than it may be; and outside the windows of\na machine with outside: approve it lets it through for an hour."),
		kairosChange(ask, out, "quarantine", "Refuse a machine until it is readmitted", "For a machine that was stolen, or that you no longer trust."),
		kairosChange(ask, out, "readmit", "Lift a quarantine", "A quarantine that a SealedVolume orders is lifted by applying one that does not."),
		kairosChange(ask, out, "delete", "Refuse a machine until it is undeleted", "Its TPM stays refused, whatever is applied later."),
		kairosChange(ask, out, "undelete", "Let a machine that was deleted ask for approval again", "It waits for approval. Then documents may be applied to it, too."))
	return c
}

func kairosList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List machines of Kairos, pending ones first", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms kairos list",
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
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", n.Hash, n.Describe(), len(n.Partitions), asked, answered(n.LastStatus, n.LastReason), strings.Join(n.Change, ", "), seen)
	}
}

func checkHash(text string) error {
	if _, err := hex.DecodeString(text); err != nil || len(text) != 64 {
		return cli.Usagef("%q is not a TPMHash, which has 64 hex digits", text)
	}
	return nil
}

// kairosChange is a command that changes one machine.
func kairosChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " TPMHASH", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms kairos " + verb + " 8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589",
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkHash(args[0]); err != nil {
				return err
			}
			var n kairoskeeper.Node
			if err := ask.call(c.Context(), "POST", "/v1/kairos/"+verb, url.Values{"hash": {args[0]}}, nil, &n); err != nil {
				return err
			}
			return out.show(c, n, func() { printStanding(c.OutOrStdout(), n.Hash.String(), n.Describe(), n.Needs) })
		},
	}
}
