package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/rootdir"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

func releaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "release", Short: "Tell the key server of a change to this machine's boot", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(releaseAnnounceCommand())
	return c
}

// announcement is one "release announce".
type announcement struct {
	kmsOptions
	config, root string
	ifAllowed    bool
}

func releaseAnnounceCommand() *cobra.Command {
	var o announcement
	c := &cobra.Command{
		Use:   "announce",
		Short: "Announce that the next boot will be another one",
		Long: `Announce tells the key server that this machine's next boot has another boot
state: before an update of the firmware, its keys or the kernel whose values
nobody can compute beforehand. The next boot gets its keys, once, and what it
shows is pinned. Only the boot that was itself given its keys may announce, and
only where the key server's policy has "announce: allow": root on this machine
could announce an image of its own.

Key server, keys and volumes are those of /etc/latchkey/latchkey.yaml.`,
		Example: `  latchkey release announce
  latchkey release announce --if-allowed`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	o.flags(c)
	c.Flags().BoolVar(&o.ifAllowed, "if-allowed", false, "no failure if the policy does not allow it: for hooks")
	return c
}

// flags are those of commands that ask the key server of the configuration.
func (o *announcement) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.config, "config", defaultConfig, "the configuration, YAML")
	f.StringVar(&o.root, "root", "/", "the root of the system whose configuration to read")
	f.StringVar(&o.url, "kms", "", "the KMS, as http://HOST[:PORT] (default: find.urls of the configuration)")
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
}

func (o *announcement) read() (*initramfs.Config, error) {
	path := o.config // of this system: in the folder where the command runs, if it is no whole path
	if root := below(o.root); root != "" {
		path = rootdir.Path(root, path)
	}
	return readConfigBelow(o.root, path)
}

func (o *announcement) run(c *cobra.Command) error {
	config, err := o.read()
	if err != nil {
		return err
	}
	client, urls, wants, err := o.ask(config)
	if err != nil {
		return err
	}

	id, done, err := openIdentity(c.Context(), o.tpm)
	if err != nil {
		return err
	}
	defer done()
	words := id.NodeID().Words()
	for _, url := range urls {
		if err = client.Announce(c.Context(), url, id, wants); err == nil || refusedBy(err) {
			break
		}
	}
	switch {
	case err == nil:
		fmt.Fprintf(c.OutOrStdout(), "announced: the next boot of this machine (%s) may be another one\n", words)
		return nil
	case o.ifAllowed && refusedBy(err) && codes.Of(err) == kms.Refused.Code():
		fmt.Fprintln(c.ErrOrStderr(), "not announced: the key server's policy does not allow it; if the next boot differs, it waits for: latchkey-kms node accept")
		return nil
	}
	return kmsExit(fmt.Errorf("this machine is %q: %w", words, err), words)
}

// ask is whom to tell, and with which keys and volumes.
func (o *announcement) ask(config *initramfs.Config) (client *kms.Client, urls []string, wants []kms.Want, err error) {
	client = &kms.Client{Dial: dialKMS}
	for _, key := range config.Trust.KMS {
		pin, err := kms.ParsePin(string(key))
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: trust.kms: %w", o.config, err)
		}
		client.Pins = append(client.Pins, pin)
	}
	for _, v := range config.Volumes {
		uuid, err := kms.ParseUUID(v.UUID)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: volumes: %w", o.config, err)
		}
		wants = append(wants, kms.Want{UUID: uuid})
	}
	if urls = config.Find.URLs; o.url != "" {
		urls = []string{o.url}
	}
	if len(urls) == 0 {
		return nil, nil, nil, cli.Usagef("%s has no find.urls: say --kms URL", o.config)
	}
	return client, urls, wants, nil
}
