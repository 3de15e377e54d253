package main

import (
	"context"
	"encoding/pem"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
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
	t, _, err := o.openTPM()
	if err != nil {
		return err
	}
	defer t.Close()
	spki, hash, err := t.EndorsementKey(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.stdout, "TPMHash: %s\n", hash)
	for _, pcr := range pcrs {
		value, err := t.ReadPCR(ctx, pcr)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.stdout, "PCR %d: %x\n", pcr, value)
	}
	return pem.Encode(o.stdout, &pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}
