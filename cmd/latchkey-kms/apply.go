package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/kms/server/kairos"
)

func applyCommand(ask *asker, out *output) *cobra.Command {
	var path string
	var replace bool
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Apply the SealedVolume and Secret documents of Kairos",
		Long: `Reads the YAML documents that Kairos' own operator uses: a SealedVolume
(keyserver.kairos.io/v1alpha1) says what a TPM gets, a Secret (v1) holds
passphrases. Either all documents of the file are applied or none. A
SealedVolume approves its TPM before it first asks.

Namespaces, labels and annotations are ignored. Applying a file again keeps
everything that was learned.`,
		Example: `  latchkey-kms apply -f sealedvolume.yaml
  latchkey-kms apply --replace -f secret.yaml`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if path == "" {
				return cli.Usagef("-f FILE is required; -f - reads standard input")
			}
			file, err := readDocuments(c.InOrStdin(), path)
			if err != nil {
				return err
			}
			defer clear(file)
			var done []kairoskeeper.Applied
			if err := ask.call(c.Context(), "POST", "/v1/kairos/documents", url.Values{"replace": {strconv.FormatBool(replace)}}, file, &done); err != nil {
				return err
			}

			return out.show(c, done, func() {
				for _, d := range done {
					fmt.Fprintf(c.OutOrStdout(), "%s %s %s\n", d.Kind, d.Name, d.Action)
				}
			})
		},
	}

	c.Flags().StringVarP(&path, "filename", "f", "", "file of YAML documents; - is standard input")
	c.Flags().BoolVar(&replace, "replace", false, "replace passphrases that differ; a disk may still need the old one")
	return c
}

func readDocuments(stdin io.Reader, path string) ([]byte, error) {
	from := stdin
	if path != "-" {
		f, err := datafile.OpenRead(path)
		if err != nil {
			return nil, fmt.Errorf("reading documents: %w", err)
		}
		defer f.Close()
		from = f
	}

	file, err := io.ReadAll(io.LimitReader(from, kairos.MaxDocuments+1))
	if err != nil {
		return nil, fmt.Errorf("reading documents: %w", err)
	}

	if len(file) > kairos.MaxDocuments {
		return nil, fmt.Errorf("reading documents: %s has more than %d bytes", path, kairos.MaxDocuments)
	}
	return file, nil
}
