package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/escrow"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
)

// recoveryCommand is about recovery keys that machines sealed for people.
func recoveryCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "recovery", Short: "Hand out recovery keys, and see which volumes have one that works", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A recovery key opens a volume when its machine's TPM, or this key server, is no
more. Machines seal theirs to the recipients of "recovery" in kms.yaml and leave
the sealed form here: this server cannot read it. The identity that opens it is
kept where no server is. The next boot of the machine proves that the keyslot is
what the key was seen to open.`,
	}
	c.AddCommand(recoveryList(ask, out), recoveryShow(ask, out), recoveryDrill(ask, out), recoveryRelease(ask, out), recoveryOpen(out))
	return c
}

func recoveryList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List how it stands with the recovery keys of all volumes", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms recovery list",
		RunE: func(c *cobra.Command, _ []string) error {
			var all []lk1.Recovery
			if err := ask.call(c.Context(), "GET", "/v1/recoveries", nil, nil, &all); err != nil {
				return err
			}
			return out.show(c, all, func() { printRecoveries(c.OutOrStdout(), all) })
		},
	}
}

func printRecoveries(out io.Writer, all []lk1.Recovery) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "UUID\tMACHINE\tRECOVERY KEY")
	now := time.Now()
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.UUID, cmp.Or(r.Words, "(none)"), recoveryWords(r, now))
	}
}

// day is how people read when something was.
func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// recoveryWords says in one line how it stands with a volume's recovery key.
func recoveryWords(r lk1.Recovery, now time.Time) (text string) {
	switch r.Standing {
	case lk1.RecoveryNone:
		return "NONE: latchkey volume recovery-key --escrow makes one"
	case lk1.RecoveryProven:
		text = fmt.Sprintf("proven %s, its keyslot unchanged since, last looked at %s", day(r.Proven), day(r.Looked))
	case lk1.RecoveryUnproven:
		text = fmt.Sprintf("UNPROVEN for %d days: its machine has not shown it in a boot since it was made %s", int(now.Sub(r.Made).Hours()/24), day(r.Made))
	case lk1.RecoveryGone:
		text = fmt.Sprintf("GONE: since %s its keyslot is not what was seen to open", day(r.Since))
	case lk1.RecoveryUsed:
		last := r.Handed[len(r.Handed)-1]
		text = fmt.Sprintf("USED: handed out %s to %s (%s)", day(last.At), last.By(), last.Reason)
	}
	if !r.Next.IsZero() {
		text += "; another, made " + day(r.Next) + ", waits for its machine to boot"
	}
	if r.Others {
		text += "; sealed to other recipients than those of today"
	}
	return text
}

func recoveryShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show UUID", Short: "Show how it stands with one volume's recovery key", Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms recovery show " + exampleUUID,
		RunE: func(c *cobra.Command, args []string) error {
			var r lk1.Recovery
			if err := ask.volume(c, "GET", "/v1/recovery", args[0], nil, &r); err != nil {
				return err
			}
			return out.show(c, r, func() {
				w := c.OutOrStdout()
				fmt.Fprintf(w, "uuid:         %s\nmachine:      %s\nrecovery key: %s\n", r.UUID, r.Words, recoveryWords(r, time.Now()))
				if r.ProvenIn != nil {
					fmt.Fprintf(w, "proven by:    %s, boot %d.%d\n", r.ProvenBy, r.ProvenIn.Reset, r.ProvenIn.Restart)
				}
				for _, h := range r.Handed {
					fmt.Fprintf(w, "handed out:   %s to %s: %s\n", day(h.At), h.By(), h.Reason)
				}
			})
		},
	}
}

// A rehearsal is what "recovery drill" found.
type rehearsal struct {
	Volumes []lk1.Recovery `json:"volumes"`
	Lacking int            `json:"lacking"` // how many have no key that is proven and unused
}

func recoveryDrill(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "drill", Short: "Tell which volumes have a recovery key that was proven, and when", Args: cli.Args(cobra.NoArgs),
		Long: `Lists the volumes of all machines, and ends with 1 if one of them has no recovery
key that a boot of its machine proved and that nobody was handed yet: one for a
timer, and for the person who looks after it.`,
		Example: "  latchkey-kms recovery drill\n  latchkey-kms recovery drill --json",
		RunE: func(c *cobra.Command, _ []string) error {
			d := rehearsal{Volumes: []lk1.Recovery{}}
			if err := ask.call(c.Context(), "GET", "/v1/recoveries", nil, nil, &d.Volumes); err != nil {
				return err
			}
			for _, r := range d.Volumes {
				if !r.Open() {
					d.Lacking++
				}
			}
			if err := out.show(c, d, func() { printRecoveries(c.OutOrStdout(), d.Volumes) }); err != nil {
				return err
			}
			if d.Lacking > 0 {
				return fmt.Errorf("%d of %d volumes have no recovery key that is proven and unused", d.Lacking, len(d.Volumes))
			}
			return nil
		},
	}
}

func recoveryRelease(ask *asker, out *output) *cobra.Command {
	var h lk1.Handing
	var output string
	c := &cobra.Command{
		Use: "release UUID --reason TEXT --output FILE", Short: "Hand out a volume's sealed recovery key, once", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Writes the sealed recovery key of a volume into FILE, once: who had it and why is
in the audit log, and the key counts as used, so that its machine is told to
make another. Where two people must agree (approvals: 2), both say this within a
day, and the second one gets the file. --again hands out what somebody had
already.

"recovery open" opens FILE where the identity is: that needs no server.`,
		Example: `  latchkey-kms recovery release ` + exampleUUID + ` \
      --reason "the mainboard is dead" --output recovery.age`,
		RunE: func(c *cobra.Command, args []string) error {
			if h.Reason == "" || output == "" {
				return cli.Usagef("say why, and where to: --reason TEXT --output FILE")
			}
			handed, err := ask.handOut(c, args[0], h, output)
			if err != nil {
				return err
			}
			handed.Sealed = nil
			return out.show(c, handed, func() {
				w := c.OutOrStdout()
				if handed.Needs != "" {
					fmt.Fprintln(w, "not handed out yet:", handed.Needs)
					return
				}
				fmt.Fprintf(w, "wrote %s: the sealed recovery key of volume %s\nopen it where the identity is: latchkey-kms recovery open --identity IDENTITY --volume %[2]s %[1]s\n", output, args[0])
				if !handed.Proven {
					fmt.Fprintln(w, "no boot of its machine has proven it")
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&h.Reason, "reason", "", "why it is needed, for the audit log (required)")
	f.StringVar(&output, "output", "", "file to create for the sealed key (required)")
	f.BoolVar(&h.Again, "again", false, "though it was handed out already")
	return c
}

// handOut makes the file first: a key that counts as used and that nobody has
// would be of no use.
func (ask *asker) handOut(c *cobra.Command, uuid string, h lk1.Handing, path string) (out lk1.Handed, err error) {
	if _, err := kms.ParseUUID(uuid); err != nil {
		return out, cli.Usagef("%w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return out, fmt.Errorf("writing the sealed key: %w", err)
	}
	err = ask.call(c.Context(), "POST", "/v1/recovery/release", url.Values{"uuid": {uuid}}, h, &out)
	if err != nil || out.Needs != "" {
		return out, errors.Join(err, f.Close(), os.Remove(path))
	}
	text, err := escrow.Armor(out.Sealed)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return out, fmt.Errorf("writing the sealed key, which counts as handed out: %w", err)
	}
	return out, nil
}
