package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

func auditVerify(ask *asker, out *output) *cobra.Command {
	var v operator.Audit
	c := &cobra.Command{
		Use: "verify", Short: "Verify the audit log, an archive, a proof", Args: cli.Args(cobra.NoArgs),
		Long: `Verifies the database and all of the audit log that is in it, and with --archive
what was archived, too: every segment that was removed from the store must be
there. With --checkpoint FILE, a checkpoint that was kept elsewhere, the log must
still begin with what that covers.

With --pin, a public key of the KMS (latchkey-kms trust), no server is asked and
no database is opened: the archive, or the proof of --proof, is verified by that
key alone.`,
		Example: `  latchkey-kms audit verify
  latchkey-kms audit verify --archive /archive/kms
  latchkey-kms audit verify --archive /archive/kms --pin lk1:hWQyMVh… --checkpoint kms.checkpoint
  latchkey-kms audit verify --proof 1200.tlog-proof --pin lk1:hWQyMVh…`,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(v.Pins) > 0 {
				return alone(c, out, v)
			}
			if v.Proof != "" {
				return cli.Usagef("--proof needs --pin: the public key of the KMS, as latchkey-kms trust prints it")
			}
			return online(c, ask, out, v)
		},
	}
	c.Flags().StringVar(&v.Archive, "archive", "", "folder of an archive to verify, too")
	c.Flags().Var(cli.List(&v.Pins), "pin", "public key of the KMS, to verify by it alone; repeatable")
	c.Flags().StringVar(&v.Checkpoint, "checkpoint", "", "file of a checkpoint that was kept")
	c.Flags().StringVar(&v.Proof, "proof", "", "file of a proof to verify")
	return c
}

// online asks the server, or opens the database.
func online(c *cobra.Command, ask *asker, out *output, v operator.Audit) error {
	if v.Archive == "" && v.Checkpoint == "" {
		return check(c, ask, out)
	}
	client, err := ask.client(c.Context())
	if err != nil {
		return err
	}
	all, err := client.Segments(c.Context())
	if err = errors.Join(err, client.Close()); err != nil {
		return err
	}
	r, err := v.Against(all)
	if err != nil {
		return err
	}
	if v.Archive != "" {
		fmt.Fprintf(c.ErrOrStderr(), "ok: %d archived segments with %d events verified; %d more are in the store only\n", r.Segments, r.Events, r.Missing)
	}
	return check(c, ask, out)
}

// alone verifies by keys, and asks nobody.
func alone(c *cobra.Command, out *output, v operator.Audit) error {
	switch {
	case (v.Proof == "") == (v.Archive == ""):
		return cli.Usagef("--pin: say what to verify by it, either --archive or --proof")
	case v.Proof != "":
		event, err := v.Proven()
		if err == nil {
			fmt.Fprintf(c.OutOrStdout(), "%s\n", event)
		}
		return err
	}
	r, err := v.Alone()
	if err != nil {
		return err
	}
	return out.show(c, r, func() {
		fmt.Fprintf(c.OutOrStdout(), "ok: %d segments with %d events verified\n", r.Segments, r.Events)
	})
}

// check verifies everything there is, in the running server or here.
func check(c *cobra.Command, ask *asker, out *output) error {
	var r ledger.Checked
	if err := ask.call(c.Context(), "GET", "/v1/check", nil, nil, &r); err != nil {
		return err
	}
	ask.warn(c.ErrOrStderr())
	return out.show(c, r, func() {
		fmt.Fprintf(c.OutOrStdout(), "ok: %d records and %d audit events verified, epoch %d\nhead of the audit log: %s\nsignature by %s: %s\n",
			r.Records, r.Events, r.Epoch, r.Head.Hash, r.Head.Key, r.Head.Signature)
	})
}
