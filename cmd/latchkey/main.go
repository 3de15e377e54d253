// Latchkey is the operator's command: it builds the image, enrolls
// volumes, and inspects and tests what the init will meet.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func main() {
	os.Exit(cli.Main(root(), os.Args[1:], os.Stdout, os.Stderr))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "latchkey",
		Short: "Let an unattended machine open its own encrypted disks at boot",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
		Long: `latchkey prepares machines that open their own LUKS2 disks at boot: it
builds the initramfs image, enrolls volumes with a key server (KMS), and
shows what the init will find.

Exit codes: 0 ok, 1 failed, 2 wrong key, 3 header refused, 4 refused by the
KMS, 64 usage.`,
	}
	c.AddCommand(
		checkCommand(), imageCommand(), kmsCommand(), planCommand(), releaseCommand(), setupCommand(), statusCommand(), discoverCommand(), tpmCommand(), volumeCommand(),
	)
	return c
}
