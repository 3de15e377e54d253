package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

// aSource says which backup is meant.
type aSource struct {
	flags    *config.Flags
	newest   bool
	identity string
}

func (a *aSource) add(f *pflag.FlagSet) {
	f.StringVar(&a.identity, "identity", "", "file of an identity of age that opens the backup")
}

// find finds the backup, and where copies of it may be made.
func (a *aSource) find(ctx context.Context, warn io.Writer, args []string) (s backup.Source, scratch string, err error) {
	b, err := a.flags.Backup()
	if err != nil {
		return s, "", err
	}
	if len(args) == 1 {
		s.File = args[0]
	} else {
		if len(b.Places) == 0 {
			return s, "", cli.Usagef("name the FILE of a backup; the configuration names no place where the server writes them")
		}
		var away error
		if s, away, err = backup.FindNewest(ctx, b.Places); err != nil {
			return s, "", err
		}
		if away != nil {
			fmt.Fprintln(warn, "warning:", away)
		}
	}
	if a.identity != "" {
		if s.Identities, err = backup.ReadIdentities(a.identity); err != nil {
			return s, "", err
		}
	}
	return s, b.Scratch, nil
}

func storeRestore(flags *config.Flags, out *output) *cobra.Command {
	from := aSource{flags: flags}
	c := &cobra.Command{
		Use: "restore [FILE]", Short: "Replace the database with a backup", Args: cli.Args(cobra.MaximumNArgs(1)),
		Long: `Verifies a backup and replaces the database with it; the database before is kept
beside it. A server refuses an old copy that was put there by other means. All
decisions since the backup are lost: check for machines that were quarantined
or deleted and for secrets that were rotated since. "store drill" shows them,
while the database of today can still be read.

--newest takes the newest backup of the places where the server writes them
(section backup of the configuration). --identity opens one that is sealed.

Stop the server first; if several servers share the store, stop all of them.`,
		Example: `  systemctl stop latchkey-kms && latchkey-kms store restore /backup/kms-2026-05-01.db
  latchkey-kms store restore --config /etc/latchkey/kms.yaml --newest --identity /media/usb/backup.key`,
		RunE: func(c *cobra.Command, args []string) error {
			if from.newest == (len(args) == 1) {
				return cli.Usagef("name the FILE of a backup, or --newest")
			}
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			source, _, err := from.find(c.Context(), c.ErrOrStderr(), args)
			if err != nil {
				return err
			}
			r, before, err := h.Restore(c.Context(), source)
			if err != nil {
				return err
			}
			return out.show(c, r, func() {
				fmt.Fprintf(c.OutOrStdout(), "restored %d records\n", r.Records)
				if before != "" {
					fmt.Fprintf(c.OutOrStdout(), "the previous database is %s\n", before)
				}
			})
		},
	}
	from.add(c.Flags())
	c.Flags().BoolVar(&from.newest, "newest", false, "the newest backup in the places of the configuration")
	return c
}

// A drilled is what a drill found.
type drilled struct {
	Backup string    `json:"backup"`
	Made   time.Time `json:"made,omitzero"`
	ledger.Checked
	Took float64        `json:"took_seconds"`
	Lost *operator.Lost `json:"lost,omitempty"` // nil: the database of today cannot be read
	Why  string         `json:"why,omitempty"`  // it cannot
}

func storeDrill(flags *config.Flags, ask *asker, out *output) *cobra.Command {
	from := aSource{flags: flags}
	c := &cobra.Command{
		Use: "drill [FILE]", Short: "Restore the newest backup for a trial, and say what would be lost", Args: cli.Args(cobra.MaximumNArgs(1)),
		Long: `Takes the newest backup of the places where the server writes them (section
backup of the configuration), or FILE, restores it into a temporary place, opens
it with this host's wrapping key and verifies every record and the audit log, as
"store restore" would. Then it lists what was decided since that backup: that
much would be lost. Nothing is changed, and the server may run.

A backup that is sealed needs --identity. That file belongs where no server is:
run the drill on a host of its own, with a copy of the wrapping key, or bring the
identity for as long as the drill takes.

The exit code is 1 if the backup could not be restored.`,
		Example: `  latchkey-kms store drill --config /etc/latchkey/kms.yaml
  latchkey-kms store drill --identity /media/usb/backup.key /backup/kms-1f2e3d4c-20261128T180000Z-e877.db.age`,
		RunE: func(c *cobra.Command, args []string) error {
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			source, scratch, err := from.find(c.Context(), c.ErrOrStderr(), args)
			if err != nil {
				return err
			}
			d, err := drill(c.Context(), h, ask, source, scratch)
			if err != nil {
				return err
			}
			return out.show(c, d, func() { d.print(c.OutOrStdout()) })
		},
	}
	from.add(c.Flags())
	return c
}

func drill(ctx context.Context, h home.Home, ask *asker, from backup.Source, scratch string) (d drilled, err error) {
	began := time.Now()
	r, err := h.Drill(ctx, from, cmp.Or(scratch, h.Data))
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d = drilled{Backup: from.String(), Made: from.Made(), Checked: r.Checked, Took: time.Since(began).Seconds()}

	c, err := ask.client(ctx)
	if err != nil {
		d.Why = err.Error()
		return d, nil
	}
	defer c.Close()
	last, err := r.Last()
	if err != nil {
		return d, err
	}
	lost, err := c.Lost(ctx, last, r.Has)
	if err != nil {
		d.Why = err.Error()
		return d, nil
	}
	d.Lost = &lost
	return d, nil
}

func (d *drilled) print(w io.Writer) {
	fmt.Fprintf(w, "%s: restored and verified in %.1f s: %d records and %d events, epoch %d\n", d.Backup, d.Took, d.Records, d.Events, d.Epoch)
	if !d.Made.IsZero() {
		fmt.Fprintf(w, "made %s\n", humanize.Time(d.Made))
	}
	switch {
	case d.Lost == nil:
		fmt.Fprintf(w, "what would be lost is not known, for the database of today cannot be read: %s\n", d.Why)
	case len(d.Lost.Decisions) == 0:
		fmt.Fprintf(w, "nothing was decided since; %d events of machines would be lost\n", d.Lost.Others)
	default:
		fmt.Fprintf(w, "decided since, and lost by a restore (and %d events of machines):\n", d.Lost.Others)
		printEvents(w, d.Lost.Decisions)
	}
}
