package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"latchkey/kms/server/lk1"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms"
)

func policyCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "policy", Short: "Explain what machines get, and why", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `The policy is in the configuration file (section "policy"), or in the store
("policy apply"), and in the settings of each machine ("node set"). A machine is
told only its status, never the rule.`,
	}
	c.AddCommand(policyExplain(ask, out), policyApply(ask, out), policyShow(ask, out), policyList(ask, out), policyRevert(ask, out))
	return c
}

func policyExplain(ask *asker, out *output) *cobra.Command {
	var operation, at, from string
	c := &cobra.Command{
		Use:   "explain WORDS... | NAME | ID",
		Short: "Explain what a machine would be told now, and why",
		Long: `Evaluates the policy for what the machine showed last, with the code that
answers machines, and prints for every rule whether it passes, and why. It
changes nothing. The exit code is 4 if the machine would get nothing, for none
of its volumes.

Run it while the server runs: without a server there is no configuration, and
only the machine's own settings apply.`,
		Example: `  latchkey-kms policy explain copper lantern drift meadow quiet anvil
  latchkey-kms policy explain 6f3c99a1 --at 2026-11-22T23:30:00+01:00 --from 192.0.2.7`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			query := url.Values{"who": {strings.Join(args, " ")}, "operation": {operation}, "at": {at}, "from": {from}}
			var e lk1.Explanation
			if err := ask.call(c.Context(), "GET", "/v1/policy/explain", query, nil, &e); err != nil {
				return err
			}
			if err := out.show(c, e, func() { printExplanation(c.OutOrStdout(), e) }); err != nil {
				return err
			}
			return outcome(e)
		},
	}

	c.Flags().StringVar(&operation, "operation", "get", "what the machine asks: get, stage, put or enroll")
	c.Flags().StringVar(&at, "at", "", "when it asks, as 2026-11-22T23:30:00Z (default: now)")
	c.Flags().StringVar(&from, "from", "", "address that it asks from (default: the last one)")
	return c
}

// outcome is what the machine would get, as an error if that is nothing.
func outcome(e lk1.Explanation) error {
	refused := func(format string, args ...any) error {
		return &cli.Exit{Code: cli.Refused, Err: fmt.Errorf(format, args...)}
	}
	if e.Status != "ok" {
		return refused("%s would be told %s (%s)", e.Words, e.Status, e.Reason)
	}
	granted := func(v lk1.Expected) bool { return v.Status == kms.OK.Code() }
	if len(e.Volumes) > 0 && !slices.ContainsFunc(e.Volumes, granted) {
		return refused("%s would be given no key: %s for volume %s", e.Words, e.Volumes[0].Status, e.Volumes[0].UUID)
	}
	return nil
}

// volumeAdvice is what the operator can do about the answer for one volume.
func volumeAdvice(v lk1.Expected, words string) string {
	switch v.Status {
	case kms.NotBound.Code():
		return fmt.Sprintf("it is not this machine's; to bind it: latchkey-kms node approve --volume %s %s", v.UUID, words)
	case kms.NoSecret.Code():
		return fmt.Sprintf("there is no key for it: latchkey-kms volume put %s, or latchkey volume enroll on the machine", v.UUID)
	case kms.HeaderRollback.Code():
		return fmt.Sprintf("an old LUKS header was shown; if you put it back: latchkey-kms volume accept-header %s", v.UUID)
	case kms.HeaderDiffers.Code():
		return fmt.Sprintf("another LUKS header was shown than the enrolled one; after a restore: latchkey-kms volume accept-header %s", v.UUID)
	}
	return ""
}

func printExplanation(out io.Writer, e lk1.Explanation) {
	fmt.Fprintf(out, "%s asks %s at %s from %s: %s\n", e.Words, e.Operation, e.At.Local().Format("2006-01-02 15:04:05 MST"), e.From, e.Status)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	printRules(w, e.Rules)
	for _, v := range e.Volumes {
		fmt.Fprintf(w, "%s\tvolume\t%s\n", v.Status, strings.TrimSuffix(v.UUID.String()+": "+volumeAdvice(v, e.Words), ": "))
	}
}
