package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/strictyaml"
	"latchkey/kms/config"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of kms.yaml, for editors",
		Long: `Schema prints what keys kms.yaml may have as a JSON Schema (draft 2020-12).
Editors with a language server for YAML complete keys by it and mark what is
misspelled. What only a program can judge is left to serve.`,
		Example: `  latchkey-kms schema

  # the first line of kms.yaml, if that is in kms.schema.json beside it:
  # yaml-language-server: $schema=kms.schema.json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(strictyaml.Schema("kms.yaml", config.Config{}, nil))
		},
	}
}
