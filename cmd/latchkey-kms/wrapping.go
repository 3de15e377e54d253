package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/wrapping"
)

func wrappingCommand(flags *config.Flags, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "wrapping", Short: "Manage the key that wraps the database's key", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(wrappingChange(flags, out))
	return c
}

func wrappingChange(flags *config.Flags, out *output) *cobra.Command {
	var change home.WrappingChange
	var file string
	var hand handout
	c := &cobra.Command{
		Use: "change", Short: "Change the wrapping key, or where it is kept", Args: cli.Args(cobra.NoArgs),
		Long: `Makes a new wrapping key and keeps it in a file, derives it from a passphrase,
seals it to this host's TPM, or has a program of yours encrypt it: an HSM, or a
cloud's KMS; or shares it among people. Stop the server first. The records in the
database are not rewritten. After a power cut either the old or the new key
fits, and the next command completes the change.

--to-config names a file with the section "wrapping" as it is to be, such as the
next kms.yaml. The key is read back before anything changes.

--to-shares 3/5 makes five shares, any three of which give the key together.
They are printed, or written to --shares-dir: one file each, which --age
encrypts to one person each. From then on each start of the server waits for
three people, who run "latchkey-kms unseal".

Without --to-... the key is kept where it was. --keep keeps the key and changes
only where it is kept: for several servers on one store, which share the key.

Backups made before the change still need the old key. A TPM releases the key
only while the host boots what it booted when the key was sealed. Seal it again
after a change of firmware or Secure Boot keys, and have a copy of the key at
hand.`,
		Example: `  latchkey-kms wrapping change
  latchkey-kms wrapping change --to-key /etc/latchkey/wrapping.key
  latchkey-kms wrapping change --to-tpm /dev/tpmrm0 --pcrs 7
  latchkey-kms wrapping change --to-config /etc/latchkey/kms.yaml.new
  latchkey-kms wrapping change --to-shares 3/5`,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := homeOf(flags)
			if err == nil {
				err = checkChange(c, h, &change, file)
			}
			if err == nil {
				err = hand.check(&change.To, out)
			}
			if err != nil {
				return err
			}

			change.Hand = func(all []wrapping.Share) error { return hand.give(c, all) }
			change.Say = func(line string) { fmt.Fprintln(c.ErrOrStderr(), "latchkey-kms: "+line) }
			kept, err := h.ChangeWrapping(c.Context(), change)
			if err != nil {
				return err
			}
			return out.show(c, map[string]string{"kept": kept}, func() {
				if change.Keep {
					fmt.Fprintf(c.OutOrStdout(), "the wrapping key is kept %s; it is the same key\n", kept)
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "the wrapping key is kept %s; earlier backups need the old key\n", kept)
				fmt.Fprintln(c.OutOrStdout(), "its file stays, or is renamed to …before where the new one took its place: delete it when you need those backups no more")
			})
		},
	}

	c.Flags().StringVar(&change.To.Key, "to-key", "", "file to keep the key in")
	c.Flags().StringVar(&change.To.Passphrase, "to-passphrase", "", "file of a passphrase to derive the key from")
	c.Flags().StringVar(&change.To.TPM, "to-tpm", "", "TPM of this host to seal the key to, e.g. /dev/tpmrm0")
	c.Flags().StringVar(&change.To.Shares, "to-shares", "", "share the key among people: how many shares give it, of how many, e.g. 3/5")
	c.Flags().StringVar(&hand.dir, "shares-dir", "", "with shares: folder to write each to a file of its own, instead of printing them")
	c.Flags().Var(cli.List(&hand.recipients), "age", "with --shares-dir: age recipient of the next share; one for each")
	c.Flags().StringVar(&file, "to-config", "", "configuration file whose section wrapping says where to keep the key")
	c.Flags().IntSliceVar(&change.PCRs, "pcrs", []int{7}, "with a TPM: PCRs (SHA-256) that must not change")
	c.Flags().BoolVar(&change.Keep, "keep", false, "keep the key; change only where it is kept")
	return c
}

// checkChange reads where the key is to be, and judges what was asked for.
func checkChange(c *cobra.Command, h home.Home, change *home.WrappingChange, file string) (err error) {
	if !change.To.Exclusive() || file != "" && !change.To.None() {
		return cli.Usagef("--to-key, --to-passphrase, --to-tpm, --to-shares and --to-config are mutually exclusive")
	}
	if file != "" {
		if change.To, err = config.ReadWrapping(file); err != nil {
			return err
		}
	}
	if err := wrapping.CheckPCRs(change.PCRs); err != nil {
		return cli.Usagef("--pcrs: %w", err)
	}
	if c.Flags().Changed("pcrs") && change.To.TPM == "" && (h.Wrapping.TPM == "" || !change.To.None()) {
		return cli.Usagef("--pcrs is for a TPM: --to-tpm")
	}
	if change.Keep && (change.To.None() || change.To.Passphrase != "") {
		return cli.Usagef("--keep needs --to-key, --to-tpm, --to-shares or --to-config: a passphrase makes a key of its own")
	}
	return nil
}
