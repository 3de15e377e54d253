package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/admin"
	"latchkey/kms/config"
)

func storeCommand(flags *config.Flags, ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "store", Short: "Back up, check, restore, move and upgrade the database", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	for _, asking := range []*cobra.Command{storeBackup(ask, out), storeBackups(ask, out), storeDrill(flags, ask, out), storeCheck(ask, out), storeUpgrade(ask, out), storeRekey(ask, out), storeKeys(ask, out)} {
		ask.add(asking.Flags())
		c.AddCommand(asking)
	}
	c.AddCommand(storeRestore(flags, out), storeSalvage(flags, out), storeMigrate(flags, out))
	return c
}

func storeCheck(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Verify the database and the audit log", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms store check",
		RunE:    func(c *cobra.Command, _ []string) error { return check(c, ask, out) },
	}
}

func storeUpgrade(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Short: "Have the store written in this version's format", Args: cli.Args(cobra.NoArgs),
		Long: `A new version runs on a store as the version before left it, and writes it so
that one can go back. This command ends that: from then on the store is written in
the newest format, with what needs it, and earlier versions refuse it. If several
servers share the store, all of them must run this version before: earlier ones
stop answering.`,
		Example: "  latchkey-kms store upgrade",
		RunE: func(c *cobra.Command, _ []string) error {
			var r admin.Upgraded
			if err := ask.call(c.Context(), "POST", "/v1/store/upgrade", nil, nil, &r); err != nil {
				return err
			}
			return out.show(c, r, func() {
				if r.From == r.To {
					fmt.Fprintf(c.OutOrStdout(), "the store is in format %d already\n", r.To)
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "the store was in format %d and is in format %d now\n", r.From, r.To)
			})
		},
	}
}

func storeSalvage(flags *config.Flags, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "salvage", Short: "Keep what can be verified of a damaged database", Args: cli.Args(cobra.NoArgs),
		Long: `For a database that no server opens any more because a part of it cannot be
verified, and of which there is no good backup: "store restore" is better. Records
that do not verify are removed and listed, the audit log says so, and events in it
that were altered are listed: they are no evidence. A machine whose record is lost
asks for approval again.

Records may be older than they were if somebody put them back: look at "node list"
for machines that you had quarantined or deleted.

Stop the server first; if several servers share the store, stop all of them. A
backup of the damaged database is written to salvage-before.db in the data
directory.`,
		Example: "  systemctl stop latchkey-kms && latchkey-kms store salvage",
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			s, err := h.Salvage(c.Context())
			if err != nil {
				return err
			}
			return out.show(c, s, func() {
				w := c.OutOrStdout()
				fmt.Fprintf(w, "kept %d records and %d events\n", s.Kept, s.Events)
				for _, l := range s.Dropped {
					fmt.Fprintf(w, "dropped: %s %s\n", l.Table, l.Key)
				}
				for _, l := range s.Altered {
					fmt.Fprintf(w, "no evidence: event %s\n", l.Key)
				}
				if s.Mixed || s.State {
					fmt.Fprintln(w, "warning: records may be older than they were; look at node list and volume list")
				}
			})
		},
	}
}
