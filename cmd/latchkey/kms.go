package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

func kmsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kms",
		Short: "Ask a key server (KMS) as a booting machine does",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
	}
	c.AddCommand(kmsGetCommand())
	return c
}

// kmsOptions say which KMS to speak to, and with which TPM.
type kmsOptions struct {
	url  string
	pins []string
	tpm  string
	json bool
}

func (o *kmsOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.url, "kms", "", "the KMS, as http://HOST[:PORT] (required)")
	f.StringArrayVar(&o.pins, "pin", nil, `the key of the KMS, as "latchkey-kms trust" prints it: lk1:...; may be repeated (required)`)
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
}

// client checks the options. It connects to nothing.
func (o *kmsOptions) client(c *cobra.Command) (*kms.Client, error) {
	if err := requireFlags(c, "kms", "pin"); err != nil {
		return nil, err
	}
	if _, err := kms.ParseURL(o.url); err != nil {
		return nil, cli.Usagef("--kms: %w", err)
	}

	client := kms.Client{Dial: dialKMS}
	for _, p := range o.pins {
		pin, err := kms.ParsePin(p)
		if err != nil {
			return nil, cli.Usagef("--pin: %w", err)
		}
		client.Pins = append(client.Pins, pin)
	}

	return &client, nil
}

// refusedBy tells a decision of the KMS from an exchange that failed.
func refusedBy(err error) bool {
	e, ok := errors.AsType[*kms.Error](err)
	return ok && e.Err == nil && e.Code() != kms.CodeBusy
}

// kmsExit is what a failed exchange says and how the command ends: with
// the code, the cause, and what to do about it.
func kmsExit(err error, words string) error {
	if codes.Of(err) == "kms-wrong-pin" {
		return fmt.Errorf("kms-wrong-pin: %w (compare --pin with what latchkey-kms trust prints on the key server, and --kms with its address)", err)
	}
	if !refusedBy(err) {
		return advise(err)
	}
	return &cli.Exit{Code: cli.Refused, Err: fmt.Errorf("%s: %w (%s)", codes.Of(err), err, kmsAdvice(codes.Of(err), words))}
}

// kmsAdvice is what the operator can do about a refusal. Where the table of
// codes speaks to a machine that boots, a running one needs other words.
func kmsAdvice(code, words string) string {
	switch code {
	case "pcr15-used":
		return "this boot has opened its volumes, so only the next one gets keys"
	case "exists":
		return "the KMS has another key for this volume, and replaces none: if it is of no use, latchkey-kms volume delete --now UUID"
	case "header-differs":
		return "the KMS knows another LUKS header for this UUID: name the disk with --device; after a restore, latchkey-kms volume accept-header UUID"
	}
	return strings.ReplaceAll(codes.Means(code).Advice, "WORDS", words)
}
