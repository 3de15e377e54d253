package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/internal/cli"
)

type imageAgent struct{ config, output string }

func imageAgentCommand() *cobra.Command {
	var o imageAgent
	c := &cobra.Command{
		Use:   "agent --output FOLDER",
		Short: "Write what latchkey-agent needs into an image of others",
		Long: `Agent compiles latchkey.yaml into the plan that latchkey-agent reads in the
early boot of initramfs-tools, dracut or mkinitcpio, and writes it below the
folder that they make their image of, with the key files and headers that the
plan has in the image. It prints the kernel modules that the plan needs beside
the drivers, a name a line. The hooks of the package latchkey-agent call it.`,
		Example: `  latchkey image agent --output "$DESTDIR"`,
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c.OutOrStdout(), c.ErrOrStderr()) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", defaultConfig, "the configuration, YAML")
	f.StringVar(&o.output, "output", "", "the folder that becomes the image (required)")
	return c
}

func (o *imageAgent) run(stdout, stderr io.Writer) error {
	if o.output == "" {
		return cli.Usagef("--output is required (see latchkey image agent --help)")
	}
	config, err := readConfig(o.config)
	if err != nil {
		return err
	}
	p, warnings, err := initramfs.WriteAgent(o.output, config)
	if err != nil {
		return &cli.Exit{Code: cli.Usage, Err: err}
	}
	for _, text := range append(warnings, hostWarnings("/", p)...) {
		fmt.Fprintln(stderr, "warning:", text)
	}
	for _, name := range p.Net.Modules() {
		fmt.Fprintln(stdout, name)
	}
	return nil
}
