// Command latchkey-kms is the key server and its administration.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin, stdout, stderr *os.File) int {
	root := &cobra.Command{
		Use:   "latchkey-kms",
		Short: "Key server for machines that open their own encrypted disks",
		Long: `latchkey-kms keeps the keys of encrypted disks and gives each machine its own,
after the machine's TPM has proved which machine it is and what it booted.

A first setup:

  latchkey-kms init                         make keys and database, once
  latchkey-kms trust                        print what the machines' images must trust
  latchkey-kms serve                        answer machines
  latchkey-kms node list                    who waits for approval, in six words each
  latchkey-kms node approve WORDS...        compare the words with the machine's console first`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: cli.Group,
	}

	root.SetIn(stdin)
	flags := config.LocationFlags(root.PersistentFlags())
	var out output
	root.PersistentFlags().BoolVar(&out.json, "json", false, "print JSON")
	ask := &asker{flags: flags}
	ask.add(root.PersistentFlags())
	root.AddCommand(initCommand(flags, &out), serveCommand(flags), storeCommand(flags, ask, &out), wrappingCommand(flags, &out))
	for _, command := range []func(*asker, *output) *cobra.Command{
		trustCommand, nodeCommand, volumeCommand, policyCommand, adminCommand, applyCommand, kairosCommand, talosCommand, k8sCommand, auditCommand,
	} {
		root.AddCommand(command(ask, &out))
	}
	return cli.Main(root, args, stdout, stderr)
}
