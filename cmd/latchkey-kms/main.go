// Command latchkey-kms is the key server and its administration.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/operator"
	"latchkey/kms/wrapping"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin, stdout, stderr *os.File) int {
	root := newRoot()
	root.SetIn(stdin)
	root.SetContext(operator.Here(context.Background())) // who does what is in the audit log
	return cli.Main(root, args, stdout, stderr)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey-kms",
		Short: "Key server for machines that open their own encrypted disks",
		Long: `latchkey-kms keeps the keys of encrypted disks and gives each machine its own,
after the machine's TPM has proved which machine it is and what it booted.

To set it up:

  latchkey-kms init                         create keys and database, once
  latchkey-kms trust                        print what the machines' images must trust
  latchkey-kms serve                        answer machines
  latchkey-kms node list                    list machines, pending ones first
  latchkey-kms node approve WORDS...        approve one, after comparing its six words

Exit codes: 0 done, 1 failed, 4 refused by the KMS,
5 not done yet as others must say the same, 64 wrong usage or configuration.`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: cli.Group,
	}

	flags, out := config.LocationFlags(root.PersistentFlags()), &output{}
	ask := &asker{flags: flags}
	root.PersistentPreRun = func(c *cobra.Command, _ []string) { flags.Ask = &wrapping.Asker{Prompt: prompter(c)} }
	root.PersistentPostRunE = func(*cobra.Command, []string) error { return ask.outcome() }
	for _, c := range []*cobra.Command{initCommand(flags, out), wrappingCommand(flags, out), storeCommand(flags, ask, out)} {
		out.add(c.PersistentFlags())
		root.AddCommand(c)
	}
	for _, command := range []func(*asker, *output) *cobra.Command{
		trustCommand, topCommand, nodeCommand, volumeCommand, recoveryCommand, policyCommand, pushCommand, releaseCommand, adminCommand, applyCommand, kairosCommand, talosCommand, tangCommand, k8sCommand, auditCommand, unsealCommand, siteCommand,
	} {
		c := command(ask, out)
		out.add(c.PersistentFlags())
		ask.add(c.PersistentFlags())
		root.AddCommand(c)
	}
	root.AddCommand(serveCommand(flags), schemaCommand())
	sayTogether(root)
	return root
}
