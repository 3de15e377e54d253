package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"latchkey/kms/server/lk1"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
)

func nodeCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "node", Short: "List, approve and quarantine machines", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A node is a machine, identified by its TPM's endorsement key. People refer to it
by six words, which the machine's console and "node list" show. Once you gave it
a name (node set --name), commands take that instead; and the first words, if no
other machine begins with them. "node approve" wants all six words.`,
	}
	c.AddCommand(nodeList(ask, out), nodeShow(ask, out), nodeApprove(ask, out),
		nodeChange(ask, out, "quarantine", "Refuse a machine until it is readmitted", `For a machine that was stolen, or that you no longer trust. It is refused from
its next request on, and keeps asking. "node readmit" lifts the quarantine.`),
		nodeChange(ask, out, "readmit", "Lift a quarantine", "The machine gets its keys at its next try; it need not reboot."),
		nodeRenew(ask, out),
		nodeChange(ask, out, "accept", "Accept the boot state that a machine showed last", `An update of firmware, kernel or command line changes the boot state, and the
machine is refused (pcr-mismatch). So it is after its TPM was cleared
(tpm-cleared). This pins what the machine showed last. Look at "node show"
first: to the KMS an intruder's kernel looks the same as your update.`),
		nodeChange(ask, out, "delete", "Refuse a machine until it is undeleted", "Its TPM stays refused; \"node undelete\" takes that back. Its volumes stay until\nyou delete them or move them to another machine."),
		nodeChange(ask, out, "undelete", "Let a machine that was deleted ask for approval again", `Within half a minute it waits for approval, as a machine that nobody knows.
Approving it gives it the volumes that are still bound to it.`),
		nodeSet(ask, out), nodeWatch(ask, out))
	return c
}

func nodeList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List machines, pending ones first", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms node list\n  latchkey-kms node list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			nodes := []lk1.Node{}
			for query := (url.Values{}); ; {
				var p lk1.NodePage
				if err := ask.call(c.Context(), "GET", "/v1/nodes/page", query, nil, &p); err != nil {
					return err
				}
				nodes = append(nodes, p.Nodes...)
				if p.Next == "" {
					break
				}
				query.Set("after", p.Next)
			}
			return out.show(c, nodes, func() { printNodes(c.OutOrStdout(), nodes) })
		},
	}
}

func printNodes(out io.Writer, nodes []lk1.Node) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WORDS\tSTATE\tVOLUMES\tLAST ANSWER\tLAST SEEN\tBOOT\tID")
	for _, n := range nodes {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%.16s\n", calledOf(n), n.Describe(), volumesOf(n), lastAnswer(n), seenOf(n, time.Now()), bootOf(n), n.ID)
	}
	w.Flush()
	for _, n := range nodes {
		if len(n.Asks) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s asks for:\n", n.Words)
		for _, v := range n.Asks {
			fmt.Fprintf(out, "  %s\n", describeAsked(v))
		}
	}
}

func nodeApprove(ask *asker, out *output) *cobra.Command {
	var a lk1.Approval
	var pcr string
	var volumes []string
	c := &cobra.Command{
		Use:   "approve WORDS... | ID",
		Short: "Approve a machine after comparing its words",
		Long: `Approves the machine whose console shows these six words. Compare all six: they
tell it from an impostor. It gets the volumes that it showed and that nobody
else has, and from then on must boot what it had booted when it showed them
(PCRs 7, 11 and 12).

A volume whose passphrase you stored, and one that another waiting machine asks
for, too, is bound only if you name it (--volume) or confirm it: at a terminal
this command shows what the machine asks for and asks you; --shown confirms
what "node show" printed under that digest. The same holds for each volume
that --move takes from another machine.

Approving a machine again renews an approval that lapsed by silence, and lets
it through for an hour outside its windows, as "node renew" does. It gets no
other volumes by that: --bind binds what it showed since, too.

A machine may ask again while you look at it: --shown DIGEST, which "node show"
prints, approves what you looked at and nothing else.

With --move say what becomes of a secret that the other machine stored:
--secrets keep hands it over, if that was this machine before its mainboard or
TPM was replaced; --secrets drop destroys it.

Where nothing measures the initrd, anyone who has the disk can replace it and
be given the keys. Such a machine is approved only if you say --unmeasured, once
for this machine, or if the policy has "unmeasured: allow". A machine that asked
while its own system ran (latchkey volume enroll) did not show its next boot:
that one waits until "node accept", or with --unmeasured is taken as it is.

A machine whose boot is that of a known release ("release list") is bound to
the release, not to the values. --release NAME binds it to one that it has not
booted yet.

An unknown id (64 hex digits) is registered before its machine first asks. It
has shown no boot state, so use --pcr none, and name its volumes.`,
		Example: `  latchkey-kms node approve copper lantern drift meadow quiet anvil
  latchkey-kms node approve --move --secrets keep copper lantern drift meadow quiet anvil
  latchkey-kms node approve 6f3c99a1d0e24b7786ac15f0b3d92e4c7a1f5be86d3c40927e8b1a5fd4c6e390 \\
      --pcr none --volume 8b7f0000-0000-4000-8000-000000000001`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if pcr != "shown" && pcr != "none" {
				return cli.Usagef("--pcr %q: must be shown or none", pcr)
			}
			for _, v := range volumes {
				uuid, err := kms.ParseUUID(v)
				if err != nil {
					return cli.Usagef("--volume: %w", err)
				}
				a.Volumes = append(a.Volumes, uuid)
			}

			a.Who, a.NoPCRs = strings.Join(args, " "), pcr == "none"
			if err := ask.lookToApprove(c, &a); err != nil {
				return err
			}
			var done lk1.Approved
			if err := ask.call(c.Context(), "POST", "/v1/node/approve", nil, a, &done); err != nil {
				return err
			}

			return out.show(c, done, func() { printApproved(c.OutOrStdout(), done) })
		},
	}

	c.Flags().StringVar(&pcr, "pcr", "shown", "boot state to pin: shown or none")
	c.Flags().BoolVar(&a.Bind, "bind", false, "of a machine that is approved: bind the volumes that it showed since")
	c.Flags().BoolVar(&a.Unmeasured, "unmeasured", false, "approve it though nothing measures its initrd: anyone at the disk can replace it")
	c.Flags().StringVar(&a.Release, "release", "", "bind it to this release (default: the one that it booted, if that is known)")
	c.Flags().StringVar(&a.Seen, "shown", "", "digest that \"node show\" printed; another is refused")
	c.Flags().BoolVar(&a.Move, "move", false, "take volumes away from the machines that own them: those that are named or confirmed")
	c.Flags().StringVar((*string)(&a.Secrets), "secrets", "", "with --move, what the other machine stored: keep or drop")
	c.Flags().Var(cli.List(&volumes), "volume", "UUID of a volume to bind, whether it showed it or not; repeatable")
	return c
}

func printApproved(w io.Writer, a lk1.Approved) {
	if a.Node.Needs != "" {
		fmt.Fprintf(w, "NOT approved yet: %s: %s\n", a.Node.Words, a.Node.Needs)
		return
	}
	fmt.Fprintf(w, "approved %s\n", a.Node.Words)
	for _, u := range a.Bound {
		fmt.Fprintf(w, "bound volume %s to it\n", u)
	}
	for _, u := range a.Moved {
		fmt.Fprintf(w, "moved volume %s to it\n", u)
	}
	for _, u := range a.Sealed {
		fmt.Fprintf(w, "volume %s: its secret is sealed to the TPM it was moved from, and of no use to this machine. "+
			"Type the recovery key at its console (the plan must list the source prompt), or another key of the volume; "+
			"then, in the running system: latchkey volume enroll, which replaces it\n", u)
	}
	for _, u := range a.Left {
		fmt.Fprintf(w, "volume %s belongs to another machine and stays there; to move it, use --move\n", u)
	}
	for _, u := range unbound(a) {
		fmt.Fprintf(w, "NOT bound: volume %s, which it asks for: it was approved before it asked; to bind it: latchkey-kms node approve --volume %s %s\n", u, u, a.Node.Words)
	}
	for _, v := range a.Held {
		if v.Standing == lk1.Deleted {
			fmt.Fprintf(w, "NOT bound: volume %s\n", describeAsked(v))
			continue
		}
		fmt.Fprintf(w, "NOT bound: volume %s; if it is this machine's: latchkey-kms node approve --volume %s %s\n", describeAsked(v), v.UUID, a.Node.Words)
	}
	printCover(w, a.Node)
	if a.Warning != "" {
		fmt.Fprintln(w, "warning:", a.Warning)
	}
}

// unbound are the volumes that the machine showed last, that are not its own,
// and of which the answer says nothing yet.
func unbound(a lk1.Approved) (out []kms.UUID) {
	if a.Node.Shown == nil {
		return nil
	}
	for _, v := range a.Node.Shown.Volumes {
		held := slices.ContainsFunc(a.Held, func(h lk1.Asked) bool { return h.UUID == v.UUID })
		if !held && !slices.Contains(a.Node.Bound, v.UUID) && !slices.Contains(a.Left, v.UUID) {
			out = append(out, v.UUID)
		}
	}
	return out
}

func nodeShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show WORDS... | NAME | ID", Short: "Show one machine: its volumes, its boot state and what has changed",
		Example: "  latchkey-kms node show copper lantern drift meadow quiet anvil",
		Args:    cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var n lk1.Node
			if err := ask.call(c.Context(), "GET", "/v1/node", who(args), nil, &n); err != nil {
				return err
			}
			return out.show(c, n, func() { printNode(c.OutOrStdout(), n) })
		},
	}
}

func printNode(w io.Writer, n lk1.Node) {
	fmt.Fprintf(w, "words:       %s\nid:          %s\nstate:       %s\nlast answer: %s\n", n.Words, n.ID, n.Describe(), lastAnswer(n))
	if c := n.Certificate; c != nil {
		fmt.Fprintf(w, "certificate: of %s, serial %s, root %s\n", c.Issuer, c.Serial, c.Root)
	}
	printPresence(w, n, time.Now())
	printTerms(w, n.Labels, n.Settings)
	for _, u := range n.Older {
		fmt.Fprintf(w, "OLDER DISK: volume %s is older than its last rotation, as one that was restored\n", u)
	}
	for _, u := range n.Bound {
		fmt.Fprintf(w, "owns:        %s\n", u)
	}

	for _, a := range n.Agreed {
		fmt.Fprintf(w, "agreed:      %s said %s at %s; somebody else must say the same\n", a.From, a.Verb, a.At.Local().Format("2006-01-02 15:04"))
	}
	printCover(w, n)
	if n.Release != "" {
		fmt.Fprintf(w, "release:     it last got its keys with %s\n", n.Release)
	}
	if n.Announced != nil {
		fmt.Fprintf(w, "announced:   %s\n", n.Announced.Window())
	}
	if n.Shown == nil {
		return
	}
	printBoot(w, n)
	fmt.Fprintf(w, "showed last (%s), digest %s:\n", n.Shown.Operation, n.Seen)
	for _, v := range n.Shown.Volumes {
		fmt.Fprintf(w, "  volume %s\n", v.UUID)
	}
	for _, v := range n.Asks {
		fmt.Fprintf(w, "asks for:    %s\n", describeAsked(v))
	}

	for _, pcr := range slices.Sorted(maps.Keys(n.Shown.PCRs)) {
		value, note := n.Shown.PCRs[pcr], ""
		if pinned, ok := n.Pins[pcr]; ok && pinned == value {
			note = "  as approved"
		} else if ok {
			note = fmt.Sprintf("  NOT the approved %x", pinned)
		}
		fmt.Fprintf(w, "  PCR %-2d %x%s\n", pcr, value, note)
	}
}

// printCover says what the node's boot state covers, and what it does not.
func printCover(w io.Writer, n lk1.Node) {
	if n.Cover == nil {
		return
	}
	for _, line := range n.Cover.Lines {
		fmt.Fprintf(w, "boot state:  %s\n", line)
	}
}

func who(args []string) url.Values { return url.Values{"who": {strings.Join(args, " ")}} }
