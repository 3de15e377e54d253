package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	bootreport "latchkey/boot/report"
	"latchkey/internal/cli"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	file := bootreport.File
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show how this boot opened its volumes",
		Long:    "Status prints the report that the init left in " + bootreport.File + ":\nevery step with its time, and every volume with the keyslot that opened it.",
		Example: "  latchkey status\n  latchkey status --json | jq .total_ms",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				return fmt.Errorf("%s does not exist: this machine was not booted by latchkey", file)
			}
			if err != nil {
				return err
			}

			var r bootreport.Report
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("reading %s: %w", file, err)
			}

			if asJSON {
				_, err := c.OutOrStdout().Write(text)
				return err
			}
			return printStatus(c.OutOrStdout(), r)
		},
	}

	c.Flags().BoolVar(&asJSON, "json", false, "print the report itself")
	c.Flags().StringVar(&file, "file", file, "the report to read")
	return c
}

func printStatus(w io.Writer, r bootreport.Report) error {
	fmt.Fprintf(w, "init started %d ms after the kernel and took %d ms; root is %s\n", r.InitMS, r.TotalMS, r.Root)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STEP\tAT MS\tTOOK MS\tDETAIL")
	for _, s := range r.Steps {
		detail := s.Detail
		if s.Code != "" {
			detail += " failed: " + s.Code
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%s\n", s.Name, s.StartMS, s.TookMS, detail)
	}

	fmt.Fprintln(t, "VOLUME\tUUID\tKEYSLOT\t")
	for _, v := range r.Volumes {
		if v.Code != "" {
			fmt.Fprintf(t, "%s\t%s\tclosed: %s\t\n", v.Name, v.UUID, v.Code)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t\n", v.Name, v.UUID, v.Keyslot)
	}
	return t.Flush()
}
