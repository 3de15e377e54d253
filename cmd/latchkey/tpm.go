package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/unlock/tpm"
)

func tpmCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tpm",
		Short: "Show what this machine's TPM says of it, and what it keeps",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
	}
	c.AddCommand(tpmInfoCommand(), tpmHashCommand(), tpmKeepCommand(), tpmForgetCommand())
	return c
}

const tpmUsage = "the TPM: a device, or the Unix socket of a software TPM"

func tpmHashCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "hash",
		Short: "Print the name that Kairos has for this machine",
		Long: `Hash prints Kairos' TPMHash: the SHA-256 of the RSA endorsement key's public
key. latchkey's own name for the machine is the node id of "latchkey tpm info".`,
		Example: `  latchkey tpm hash`,
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := tpm.Open(path)
			if err != nil {
				return advise(err)
			}
			defer t.Close()
			hash, err := t.Hash(c.Context())
			if err != nil {
				return advise(err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"tpm_hash": hash})
			}
			fmt.Fprintln(c.OutOrStdout(), hash)
			return nil
		},
	}

	c.Flags().StringVar(&path, "tpm", tpm.DefaultPath, tpmUsage)
	c.Flags().BoolVar(&asJSON, "json", false, "print the hash as JSON")
	return c
}

// openIdentity opens a TPM and loads its keys. done undoes both.
func openIdentity(ctx context.Context, path string) (id *tpm.Identity, done func(), err error) {
	t, err := tpm.Open(path)
	if err != nil {
		return nil, nil, advise(err)
	}
	if id, err = t.Identify(ctx, tpm.Options{Certificate: true}); err != nil {
		t.Close()
		return nil, nil, advise(err)
	}
	return id, func() { id.Close(); t.Close() }, nil
}

// advise puts an error's stable code before it, and behind it what the
// table of codes, which the init has as well, says to do.
func advise(err error) error {
	code, ok := codes.Find(err)
	switch {
	case !ok:
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (run this as root)", err)
	case code == tpm.CodeAbsent && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w (%s)", codes.TPMMissing, err, codes.Means(codes.TPMMissing).Advice)
	}
	if advice := codes.Means(code).Advice; advice != "" {
		return fmt.Errorf("%s: %w (%s)", code, err, advice)
	}
	return fmt.Errorf("%s: %w", code, err)
}

// printPairs prints lines of a name and a value, aligned.
func printPairs(w io.Writer, pairs ...[2]string) error {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p[0]))
	}
	for _, p := range pairs {
		if _, err := fmt.Fprintf(w, "%s:%s %s\n", p[0], strings.Repeat(" ", width-len(p[0])), p[1]); err != nil {
			return err
		}
	}
	return nil
}
