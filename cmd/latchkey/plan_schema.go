package main

import (
	"github.com/spf13/cobra"

	"latchkey/docs"
	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/strictyaml"
)

func planSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of latchkey.yaml, for editors",
		Long: `Schema prints what keys latchkey.yaml may have, with what they mean, as a JSON
Schema (draft 2020-12). Editors with a language server for YAML complete keys
by it and mark what is misspelled. What only a program can judge is left to
image build and plan show.`,
		Example: `  latchkey plan schema > latchkey.schema.json

  # the first line of latchkey.yaml:
  # yaml-language-server: $schema=latchkey.schema.json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return printJSON(c.OutOrStdout(), strictyaml.Schema("latchkey.yaml", initramfs.Config{}, strictyaml.About(docs.Plan)))
		},
	}
}
