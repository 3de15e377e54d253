package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/server/lk1"
)

// addNow adds the flag that ends a grace, or has none.
func addNow(f *pflag.FlagSet, now *bool) {
	f.BoolVar(now, "now", false, "destroy it at once, also if it was deleted or retired before")
}

// nowIn puts the flag into a query.
func nowIn(query url.Values, now bool) url.Values {
	if now {
		query.Set("now", "true")
	}
	return query
}

func volumeDelete(ask *asker, out *output) *cobra.Command {
	var yes, now bool
	c := &cobra.Command{
		Use: "delete UUID", Short: "Take a volume away, and destroy it after a grace", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `From now on nobody gets anything of the volume, and no machine may enroll its
UUID. For 30 days ("retention: deleted" in kms.yaml) "volume undelete" gives it
back to its machine as it was. Then, or at once with --now, everything that the
KMS has of it is destroyed: without a recovery key the volume is lost.`,
		Example: "  latchkey-kms volume delete " + exampleUUID,
		RunE: func(c *cobra.Command, args []string) error {
			question := "Volume %s opens no more by this KMS until you undelete it, and is destroyed when its grace ends; its keyslots stay on the disk. Go on?"
			if now {
				question = "Everything that the KMS has of volume %s is destroyed, and cannot be had again; its keyslots stay on the disk. Go on?"
			}
			if !yes && terminal(c) {
				if err := confirm(c, fmt.Sprintf(question, args[0])); err != nil {
					return err
				}
			}
			var done struct{}
			if err := ask.volumeBy(c, "POST", "/v1/volume/delete", nowIn(url.Values{"uuid": args}, now), nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { fmt.Fprintf(c.OutOrStdout(), "delete: volume %s\n", args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask on a terminal whether this is meant")
	addNow(c.Flags(), &now)
	return c
}

func volumeUndelete(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "undelete UUID", Short: "Give a deleted volume back to its machine", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Takes "volume delete" back, for as long as "volume list" shows the volume: its
machine gets its key again. Where the policy wants the approval of several
people, they must all say this.`,
		Example: "  latchkey-kms volume undelete " + exampleUUID,
		RunE: func(c *cobra.Command, args []string) error {
			var done lk1.Undeleted
			if err := ask.volume(c, "POST", "/v1/volume/undelete", args[0], nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() {
				if done.Needs != "" {
					fmt.Fprintf(c.OutOrStdout(), "NOT done yet: volume %s: %s\n", args[0], done.Needs)
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "undelete: volume %s\n", args[0])
			})
		},
	}
}
