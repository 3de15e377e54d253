package main

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/terms"
)

// A kin is the machines of a protocol other than lk1: how a command names one.
type kin struct {
	protocol   policy.Protocol
	people     string // as prose names them: Kairos
	arg, param string // in the usage, and in the administration's requests
	example    string
	releases   string // the operation that gives a key out
	stores     string
	check      func(string) error
}

// setCommand changes what holds for one machine.
func (k kin) setCommand(ask *asker, out *output) *cobra.Command {
	var f settingFlags
	c := &cobra.Command{
		Use: "set " + k.arg, Short: "Set when, from where and how often a machine may get its keys", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Sets the machine's own settings, which override those of the configuration
(section "policy"). A list (--window, --network) replaces the one that the
machine had. --clear removes a setting, so that the configuration's applies.

A label puts the machine into the configuration's groups. All machines of
` + k.people + ` are in the group of the label protocol=` + string(k.protocol) + `.`,
		Example: `  latchkey-kms ` + string(k.protocol) + ` set ` + k.example + ` --window "mon-fri 06:00-20:00 Europe/Berlin"
  latchkey-kms ` + string(k.protocol) + ` set ` + k.example + ` --label site=berlin --silence 90d`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := k.check(args[0]); err != nil {
				return err
			}
			set, err := f.change(c)
			if err != nil {
				return err
			}
			var row struct {
				policy.Terms
				Needs string `json:"needs,omitempty"`
			}
			if err := ask.call(c.Context(), "POST", "/v1/"+string(k.protocol)+"/set", url.Values{k.param: {args[0]}}, set, &row); err != nil {
				return err
			}
			return out.show(c, row, func() {
				if row.Needs != "" {
					printStanding(c.OutOrStdout(), args[0], "", row.Needs)
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "%s\n", args[0])
				printTerms(c.OutOrStdout(), row.Labels, row.Settings)
			})
		},
	}
	f.add(c.Flags(), k.protocol)
	return c
}

// explainCommand says what a machine would get.
func (k kin) explainCommand(ask *asker, out *output) *cobra.Command {
	var operation, at, from string
	c := &cobra.Command{
		Use: "explain " + k.arg, Short: "Explain what a machine would be told now, and why", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Evaluates the policy for what the machine showed last, with the code that
answers machines, and prints for every rule whether it passes, and why. It
changes nothing. The exit code is 4 if the machine would get nothing.`,
		Example: `  latchkey-kms ` + string(k.protocol) + ` explain ` + k.example + ` --at 2026-11-22T23:30:00+01:00 --from 192.0.2.7`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := k.check(args[0]); err != nil {
				return err
			}
			query := url.Values{k.param: {args[0]}, "operation": {operation}, "at": {at}, "from": {from}}
			var e terms.Explanation
			if err := ask.call(c.Context(), "GET", "/v1/"+string(k.protocol)+"/explain", query, nil, &e); err != nil {
				return err
			}
			if err := out.show(c, e, func() { printShared(c.OutOrStdout(), e) }); err != nil {
				return err
			}
			if e.Reason != "" {
				return &cli.Exit{Code: cli.Refused, Err: fmt.Errorf("%s would be told %s (%s)", e.Name, e.Status, e.Reason)}
			}
			return nil
		},
	}
	c.Flags().StringVar(&operation, "operation", k.releases, "what the machine asks: "+k.releases+" or "+k.stores)
	c.Flags().StringVar(&at, "at", "", "when it asks, as 2026-11-22T23:30:00Z (default: now)")
	c.Flags().StringVar(&from, "from", "", "address that it asks from (default: the last one)")
	return c
}

func printShared(out io.Writer, e terms.Explanation) {
	from := e.From
	if from == "" {
		from = "nowhere yet"
	}
	fmt.Fprintf(out, "%s asks %s at %s from %s: %s\n", e.Name, e.Operation, e.At.Local().Format("2006-01-02 15:04:05 MST"), from, e.Status)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	printRules(w, e.Rules)
	for _, line := range e.Unasked {
		fmt.Fprintf(w, "-\tsetting\t%s\n", line)
	}
}

// printRules prints rules in three columns.
func printRules(w io.Writer, rules []policy.Check) {
	for _, r := range rules {
		verdict := "pass"
		if !r.Passes {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", verdict, r.Rule, r.Why)
	}
}

// printStanding says what a command made of a machine, or that others must say
// the same first.
func printStanding(w io.Writer, name, standing, needs string) {
	if needs != "" {
		fmt.Fprintf(w, "NOT done yet: %s: %s\n", name, needs)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", name, standing)
}

// answered is the last answer, and the rule that it was by.
func answered(status string, reason policy.Rule) string {
	if reason == "" {
		return status
	}
	return fmt.Sprintf("%s (%s)", status, reason)
}

// nothing tells whether a change changes nothing.
func nothing(c policy.Change) bool {
	return len(c.Clear)+len(c.Labels) == 0 && reflect.ValueOf(c.Settings).IsZero()
}
