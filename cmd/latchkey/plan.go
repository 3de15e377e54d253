package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
)

func planCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what a boot would do",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
	}
	c.AddCommand(planShowCommand())
	return c
}

func planShowCommand() *cobra.Command {
	var cmdline string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show IMAGE-OR-CONFIG",
		Short: "Show the plan of an image, or of a latchkey.yaml, in words",
		Long: `Show prints the plan as the init would log it: that of the image, refined
by the options of a kernel command line. It lists the options that the init
would ignore, with the reason, and the volumes that /etc/crypttab or
/etc/fstab of this machine call by another name.`,
		Example: `  latchkey plan show /boot/initrd.img-$(uname -r) --cmdline "$(cat /proc/cmdline)"
  latchkey plan show latchkey.yaml --cmdline 'ip=dhcp6 rd.latchkey.kms=http://kms2.local'`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := planFile(args[0])
			if err != nil {
				return err
			}
			p, problems, err := plan.Parse(file, cmdline)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return printPlan(c.OutOrStdout(), p, problems, asJSON)
		},
	}

	c.Flags().StringVar(&cmdline, "cmdline", "", "kernel command line to apply")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan file's JSON")
	return c
}

// planFile takes the plan out of an image, or compiles a configuration.
func planFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	entries, err := initramfs.List(data)
	if err != nil {
		config, err := initramfs.ReadConfig(strings.NewReader(string(data)))
		if err != nil {
			return nil, fmt.Errorf("%s is neither an image nor a configuration: %w", path, err)
		}
		p, err := config.Plan()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return p.Encode()
	}

	for _, e := range entries {
		if e.Name == "plan.json" {
			return e.Data, nil
		}
	}

	return nil, errors.New(path + " holds no plan: it was not made by latchkey image build")
}

func printPlan(w io.Writer, p *plan.Plan, problems []plan.Problem, asJSON bool) error {
	warnings := hostWarnings(p)
	if asJSON {
		var reasons []string
		for _, problem := range problems {
			reasons = append(reasons, problem.String())
		}
		return json.NewEncoder(w).Encode(map[string]any{"plan": p, "problems": reasons, "warnings": warnings})
	}

	fmt.Fprintln(w, p)
	for _, problem := range problems {
		fmt.Fprintln(w, problem)
	}
	for _, text := range warnings {
		fmt.Fprintln(w, "warning:", text)
	}
	return nil
}
