package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/tpm"
)

// keptWhere is the line that names both handles.
var keptWhere = fmt.Sprintf("%#08x and %#08x", uint32(tpm.KeptEK), uint32(tpm.KeptAK))

func tpmKeepCommand() *cobra.Command {
	return keptCommand(&cobra.Command{
		Use:   "keep",
		Short: "Have the TPM keep this machine's keys, so that a boot need not make them",
		Long: `Keep writes the endorsement key (EK) and the attestation key (AK), both P-256,
into the TPM's non-volatile memory at ` + keptWhere + `, once. They are
the keys that each boot makes otherwise: the machine stays the same for its
key server, and nothing of them leaves the TPM. An image that is built with
"tpm: {kept: true}" takes them from there, which saves a slow TPM two of its
longest commands and the boot two flushes; if they are not there, it makes
them as before.

A handle that holds another key is left as it is, and nothing is written. It
needs the owner hierarchy without a password, and room for two keys. Clearing
the TPM removes them; "latchkey tpm forget" does, too.`,
		Example: "  latchkey tpm keep\n  latchkey tpm keep --tpm /run/swtpm.sock",
	}, func(ctx context.Context, t *tpm.TPM) (string, error) {
		wrote, err := t.Keep(ctx)
		if wrote == 0 {
			return "the TPM keeps the keys at " + keptWhere + " already: nothing was written", err
		}
		return "the TPM keeps the keys at " + keptWhere + ": build the image with tpm: {kept: true}", err
	})
}

func tpmForgetCommand() *cobra.Command {
	return keptCommand(&cobra.Command{
		Use:   "forget",
		Short: "Take the keys that \"latchkey tpm keep\" wrote out of the TPM",
		Long: `Forget removes the keys of this machine from ` + keptWhere + ` in the
TPM's non-volatile memory. Other keys are left as they are. The machine boots
as before: it makes its keys in each boot.`,
		Example: "  latchkey tpm forget",
	}, func(ctx context.Context, t *tpm.TPM) (string, error) {
		removed, err := t.Forget(ctx)
		if removed == 0 {
			return "the TPM keeps no key of this machine at " + keptWhere + ": nothing was removed", err
		}
		return fmt.Sprintf("%d keys were removed from the TPM", removed), err
	})
}

// keptCommand completes a command that changes what the TPM keeps and says so.
func keptCommand(c *cobra.Command, change func(context.Context, *tpm.TPM) (string, error)) *cobra.Command {
	var path string
	c.Args = cli.Args(cobra.NoArgs)
	c.RunE = func(c *cobra.Command, _ []string) error {
		t, err := tpm.Open(path)
		if err != nil {
			return advise(err)
		}
		defer t.Close()
		said, err := change(c.Context(), t)
		if err != nil {
			return advise(err)
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), said)
		return err
	}
	c.Flags().StringVar(&path, "tpm", tpm.DefaultPath, tpmUsage)
	return c
}
