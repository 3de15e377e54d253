// Command latchkey-kms is the key server and its administration.
package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// options are what every command takes.
type options struct {
	config string
	data   string
	wrap   wrappingSection
	pcrs   []int // that a TPM holds a new wrapping key to
	json   bool
	remote remoteFlags
	store  storeSection
}

func run(args []string, stdin, stdout, stderr *os.File) int {
	o := &options{}
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
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return o.locate(c.Flags()) }
	flags := root.PersistentFlags()
	flags.StringVar(&o.config, "config", "", "configuration file (YAML) of the key server; flags win over it")
	flags.StringVar(&o.data, "data", defaultData, "directory of keys and database")
	o.wrap.flags(flags)
	o.store.flags(flags)
	o.remote.add(flags)
	flags.BoolVar(&o.json, "json", false, "print JSON")
	root.AddCommand(initCommand(o), serveCommand(o), trustCommand(o), nodeCommand(o), volumeCommand(o), policyCommand(o), adminCommand(o), applyCommand(o), kairosCommand(o), talosCommand(o), k8sCommand(o), auditCommand(o), storeCommand(o), wrappingCommand(o), benchCommand(o))
	return cli.Main(root, args, stdout, stderr)
}

// defaultData is where the KMS keeps its keys and database.
const defaultData = "/var/lib/latchkey-kms"

// locate takes what every command needs from the configuration, where no
// flag said it.
func (o *options) locate(flags *pflag.FlagSet) error {
	c, err := readConfig(o.config)
	if err != nil {
		return err
	}
	if c.Data != "" && !flags.Changed("data") {
		o.data = c.Data
	}
	o.store.over(c.Store, flags)
	if err := o.wrap.over(c.Wrapping, flags); err != nil {
		return cli.Usagef("wrapping: key, passphrase and tpm exclude each other")
	}
	return nil
}

// show prints v as JSON, or as text.
func (o *options) show(c *cobra.Command, v any, text func()) error {
	if !o.json {
		text()
		return nil
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
