package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/kms/server"
	"latchkey/kms/wrapping"
)

func wrappingCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "wrapping", Short: "The key that wraps the database's key", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(wrappingChange(o))
	return c
}

func wrappingChange(o *options) *cobra.Command {
	var to wrappingSection
	var pcrs []int
	var keep bool
	c := &cobra.Command{
		Use: "change", Short: "Change the wrapping key, or where it is kept", Args: cli.Args(cobra.NoArgs),
		Long: `Makes a new wrapping key and keeps it in a file, derives it from a passphrase,
or seals it to this host's TPM. Stop the server first. What is in the
database stays as it is; after a power cut the old or the new key fits, and
the next command finishes the change.

Without --to-… it is kept where it was. --keep keeps the key and changes only
where it is kept: for several servers on one store, which share the key.

Backups made before still need the old key. The TPM gives its key back only
while the host boots what it booted when it was sealed: seal it again after
a change of firmware or Secure Boot keys, with a copy of the key at hand.`,
		Example: `  latchkey-kms wrapping change
  latchkey-kms wrapping change --to-key /etc/latchkey/wrapping.key
  latchkey-kms wrapping change --to-tpm /dev/tpmrm0 --pcrs 7`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := to.check(); err != nil {
				return cli.Usagef("--to-key, --to-passphrase and --to-tpm exclude each other")
			}
			if err := wrapping.CheckPCRs(pcrs); err != nil {
				return cli.Usagef("--pcrs: %w", err)
			}

			if keep && (to == wrappingSection{} || to.Passphrase != "") {
				return cli.Usagef("--keep needs --to-key or --to-tpm: a passphrase makes a key of its own")
			}
			k, err := o.changeWrapping(c.Context(), to, keep, pcrs)
			if err != nil {
				return err
			}

			return o.show(c, map[string]string{"kept": k.describe()}, func() {
				fmt.Fprintf(c.OutOrStdout(), "the wrapping key is kept %s; backups made before need the old one\n", k.describe())
			})
		},
	}

	c.Flags().StringVar(&to.Key, "to-key", "", "file to keep it in")
	c.Flags().StringVar(&to.Passphrase, "to-passphrase", "", "file of a passphrase to derive it from")
	c.Flags().StringVar(&to.TPM, "to-tpm", "", "TPM of this host to seal it to, e.g. /dev/tpmrm0")
	c.Flags().IntSliceVar(&pcrs, "pcrs", []int{7}, "with a TPM: boot registers (SHA-256) that must stay as they are")
	c.Flags().BoolVar(&keep, "keep", false, "keep the key, change only where it is kept")
	return c
}

// describe says where a key is kept, with the flag that names it.
func (k keeping) describe() string {
	switch {
	case k.TPM != "":
		return fmt.Sprintf("in %s, sealed to the TPM: --wrapping-tpm %s", k.material, k.TPM)
	case k.Passphrase != "":
		return fmt.Sprintf("in nothing but its passphrase and %s: --wrapping-passphrase %s", k.material, k.Passphrase)
	}
	return fmt.Sprintf("in %s: --wrapping-key %[1]s", k.material)
}

// changeWrapping: the new material is on the disk before the database
// changes, and takes its place after that.
func (o *options) changeWrapping(ctx context.Context, to wrappingSection, keep bool, pcrs []int) (keeping, error) {
	if up, err := o.running(ctx); err != nil || up {
		return keeping{}, errors.Join(err, errors.New("changing the wrapping key: stop the server first"))
	}
	from := o.wrap.in(o.data)
	next := from
	if to != (wrappingSection{}) {
		next = to.in(o.data)
	}

	if next.material == "" {
		return next, errors.New("changing the wrapping key: it is a systemd credential, which only systemd-creds can write; name a place with --to-key, then encrypt that file")
	}
	if _, err := os.Stat(next.material); err == nil && next.material != from.material {
		return next, fmt.Errorf("changing the wrapping key: %s is there already; nothing was changed", next.material)
	}

	s, err := o.open("", slog.New(slog.DiscardHandler)) // finishes a change that was cut short
	if err != nil {
		return next, err
	}
	defer s.Close()
	old, err := from.read(from.material)
	if err != nil {
		return next, err
	}
	defer old.Wipe()
	var key secret.Bytes
	if keep {
		key = old.Clone()
	}

	if key, err = next.put(next.fresh(), key, pcrs); err != nil {
		return next, err
	}
	defer key.Wipe()
	if err := checkBack(next, key); err != nil {
		os.Remove(next.fresh())
		return next, err
	}

	if err := s.ChangeWrapping(ctx, old, key); err != nil {
		return next, err
	}
	return next, server.Replace(next.fresh(), next.material)
}

// checkBack: a key that does not come back must not wrap anything.
func checkBack(k keeping, key secret.Bytes) error {
	back, err := k.read(k.fresh())
	if err != nil {
		return fmt.Errorf("changing the wrapping key: the new one does not come back: %w", err)
	}
	defer back.Wipe()
	if !back.Equal(key) {
		return errors.New("changing the wrapping key: another key comes back than was kept")
	}
	return nil
}
