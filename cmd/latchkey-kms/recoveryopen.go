package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/escrow"
	"latchkey/kms"
	"latchkey/kms/backup"
)

// opening is one "recovery open".
type opening struct {
	identity, volume string
}

func recoveryOpen(out *output) *cobra.Command {
	var o opening
	c := &cobra.Command{
		Use: "open --identity FILE SEALED", Short: "Open a sealed recovery key, where its identity is", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Prints the recovery key of a file that "recovery release" wrote, as it is typed at
the console's prompt, and what it is for. It asks no server: run it where the
identity is, which belongs on no server. --volume says which volume you mean to
open; a key that is for another is not printed.`,
		Example: `  latchkey-kms recovery open --identity owner.key \
      --volume ` + exampleUUID + ` recovery.age`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.identity == "" {
				return cli.Usagef("--identity is missing: the file of the identity of age, or the SSH key")
			}
			k, err := o.open(args[0])
			if err != nil {
				return err
			}
			defer k.Text.Wipe()
			return o.print(c, out, k)
		},
	}
	f := c.Flags()
	f.StringVar(&o.identity, "identity", "", "file of the identity that opens it: of age, or an SSH key (required)")
	f.StringVar(&o.volume, "volume", "", "UUID of the volume to be opened: a key for another is not printed")
	return c
}

func (o *opening) open(path string) (k escrow.Key, err error) {
	var wanted kms.UUID
	if o.volume != "" {
		if wanted, err = kms.ParseUUID(o.volume); err != nil {
			return k, cli.Usagef("--volume: %w", err)
		}
	}
	by, err := backup.ReadIdentities(o.identity)
	if err != nil {
		return k, err
	}
	f, err := datafile.OpenRead(path)
	if err != nil {
		return k, fmt.Errorf("opening a sealed recovery key: %w", err)
	}
	defer f.Close()
	if k, err = escrow.Open(f, by); err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	if o.volume != "" && k.Volume != wanted {
		k.Text.Wipe()
		return k, fmt.Errorf("%s holds the recovery key of volume %s, not of %s: somebody gave you another one", path, k.Volume, wanted)
	}
	return k, nil
}

// print lets the key pass through no string.
func (o *opening) print(c *cobra.Command, out *output, k escrow.Key) error {
	before, after := "    ", "\n"
	head := fmt.Sprintf("recovery key of volume %s, keyslot %d, made %s by machine %q; type it dashes and all:\n\n", k.Volume, k.Keyslot, day(k.Made), k.Machine.Words())
	if out.json {
		head = fmt.Sprintf(`{"volume": %q, "machine": %q, "keyslot": %d, "made": %q, "key": `, k.Volume, k.Machine, k.Keyslot, k.Made.Format("2006-01-02T15:04:05Z07:00"))
		before, after = `"`, "\"}\n"
	}
	text := slices.Concat([]byte(head+before), k.Text.Reveal(), []byte(after))
	defer clear(text)
	if _, err := c.OutOrStdout().Write(text); err != nil {
		return errors.Join(errors.New("printing the recovery key"), err)
	}
	return nil
}
