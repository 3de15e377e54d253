package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
)

// pushCommand gives a machine that waits a passphrase, from far away.
func pushCommand(ask *asker, out *output) *cobra.Command {
	var keyFile, shown string
	var volumes []string
	c := &cobra.Command{
		Use: "push WORDS...", Short: "Give a machine that waits a passphrase, for this boot alone",
		Long: `Leaves a passphrase for a machine that waits for its keys: a recovery key, when
the key server does not know the machine or has no key for it. The machine gets
it with its next question, within half a minute, and tries it on its volumes.
Only the TPM that showed what you looked at can open it, only in that boot, once
and within ten minutes; whatever else asks in its name ends the push. Its plan
must list the source push for the volumes. Nothing is stored for later boots.

On a terminal the machine is shown, and you confirm; else --shown says what you
looked at ("node show" prints the digest).`,
		Example: "  latchkey-kms push copper lantern drift meadow quiet anvil --key-file recovery.key --shown 0123456789abcdef",
		Args:    cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			query := who(args)
			for _, v := range volumes {
				if _, err := kms.ParseUUID(v); err != nil {
					return cli.Usagef("%w", err)
				}
			}
			if len(volumes) > 0 {
				query.Set("volumes", strings.Join(volumes, ","))
			}
			switch {
			case keyFile == "":
				return cli.Usagef("--key-file is missing: the file of the passphrase, or - for standard input")
			case shown == "" && (keyFile == "-" || !terminal(c)):
				return cli.Usagef("say which boot you looked at, by --shown DIGEST: \"latchkey-kms node show\" prints it")
			case shown == "":
				var err error
				if shown, err = ask.look(c, who(args), "give this boot the passphrase?"); err != nil {
					return err
				}
			}
			query.Set("shown", shown)
			key, err := passphrase(c.InOrStdin(), keyFile, "")
			if err != nil {
				return err
			}
			defer key.Wipe()
			var p lk1.Pushed
			if err := ask.call(c.Context(), "POST", "/v1/node/push", query, key.Reveal(), &p); err != nil {
				return err
			}
			return out.show(c, p, func() {
				fmt.Fprintf(c.OutOrStdout(), "%s: left for its next question, for %s\n", p.Words, time.Duration(p.Seconds)*time.Second)
				for _, uuid := range p.Volumes {
					fmt.Fprintf(c.OutOrStdout(), "  volume %s\n", uuid)
				}
			})
		},
	}
	c.Flags().StringVar(&keyFile, "key-file", "", "file of the passphrase; - reads standard input")
	c.Flags().StringVar(&shown, "shown", "", "digest that \"node show\" printed; another is refused")
	c.Flags().Var(cli.List(&volumes), "volume", "UUID of a volume; may be repeated (default: all that it asks for)")
	return c
}
