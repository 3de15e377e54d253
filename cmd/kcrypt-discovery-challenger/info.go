package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/tpm"
)

func infoCommand(ctx context.Context, o *options) *cobra.Command {
	pcrs := []int{0, 7, 11}
	c := &cobra.Command{
		Use: "info", Short: "Print what the key server's documents may say of this machine",
		Long: `Prints the TPMHash of this machine, its PCRs (SHA-256) and its endorsement key,
as spec.TPMHash, spec.attestation.pcrValues.pcrs and
spec.attestation.ekPublicKey of a SealedVolume have them.`,
		Example: `  kcrypt-discovery-challenger info
  kcrypt-discovery-challenger info --pcrs 7`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.info(ctx, pcrs) },
	}
	c.Flags().IntSliceVar(&pcrs, "pcrs", pcrs, "PCRs to print")
	c.Flags().StringVar(&o.device, "tpm-device", "", "the TPM (default from the configuration)")
	return c
}

func (o *options) info(ctx context.Context, pcrs []int) error {
	for _, pcr := range pcrs {
		if pcr < 0 || pcr > 23 {
			return cli.Usagef("--pcrs %d: a TPM has the PCRs 0 to 23", pcr)
		}
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	text, err := withTPM(ctx, o.limits, c.TPMDevice, func(ctx context.Context, t *tpm.TPM) ([]byte, error) { return about(ctx, t, pcrs) })
	if err != nil {
		return err
	}
	_, err = o.stdout.Write(text)
	return err
}

func about(ctx context.Context, t *tpm.TPM, pcrs []int) ([]byte, error) {
	spki, hash, err := t.EndorsementKey(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "TPMHash: %s\n", hash)
	for _, pcr := range pcrs {
		value, err := t.ReadPCR(ctx, pcr)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "PCR %d: %x\n", pcr, value)
	}
	err = pem.Encode(&out, &pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	return out.Bytes(), err
}
