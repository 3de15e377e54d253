package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/cloudconfig"
	"latchkey/internal/secret"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/tpm"
)

// Attempts of Kairos' client, and the pause between them.
const (
	defaultAttempts = 30
	pause           = time.Second
)

func getCommand(ctx context.Context, o *options) *cobra.Command {
	var r kairos.Request
	c := &cobra.Command{
		Use: "get", Short: "Print the passphrase of a partition",
		Long: `Prints the passphrase of a partition, without a line break at its end. The
partition is named by one or more of its label, its kernel name and its UUID, as
the key server's documents have it.

Asks again after a second while the server has nothing yet or does not answer; a
refusal that is final ends it at once. Finding and reaching the server may take
10 s in an attempt, and so may each of its answers; what is waited for is named
on standard error after the first attempt that failed.`,
		Example: `  kcrypt-discovery-challenger get --partition-label COS_PERSISTENT
  kcrypt-discovery-challenger get --partition-label COS_OEM --attempts 1 \
      --challenger-server https://kms.local --mdns --certificate /oem/kms.pem`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case r == kairos.Request{}:
				return cli.Usagef("--partition-label is missing: the label, --partition-name or --partition-uuid of the partition")
			case c.Flags().Changed("challenger-server") && o.server == "":
				return cli.Usagef("--challenger-server is empty: want a URL, or leave it out for the configuration's")
			case o.attempts < 1:
				return cli.Usagef("--attempts %d: want 1 or more", o.attempts)
			}
			p, err := o.passphrase(ctx, r)
			if err != nil {
				return err
			}
			defer p.Wipe()
			_, err = o.stdout.Write(p.Reveal())
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&r.Label, "partition-label", "", "label of the partition, such as COS_PERSISTENT")
	f.StringVar(&r.Name, "partition-name", "", "the kernel's name of the partition, such as vda5")
	f.StringVar(&r.UUID, "partition-uuid", "", "UUID of the partition")
	f.IntVar(&o.attempts, "attempts", defaultAttempts, "how often to ask, with a second between")
	f.StringVar(&o.server, "challenger-server", "", "URL of the key server (default from the configuration)")
	f.BoolVar(&o.mdns, "mdns", false, "look for the key server by mDNS: _kcrypt._tcp with the URL's host")
	f.StringVar(&o.certificate, "certificate", "", "certificate to trust, PEM or the path of a file")
	f.StringVar(&o.device, "tpm-device", "", "the TPM (default "+tpm.DefaultPath+")")
	return c
}

// passphrase asks the server that is configured, or the TPM alone.
func (o *options) passphrase(ctx context.Context, r kairos.Request) (secret.Bytes, error) {
	c, err := o.config()
	if err != nil {
		return secret.Bytes{}, err
	}
	if c.Server == "" {
		return withTPM(ctx, o.limits, c.TPMDevice, func(ctx context.Context, t *tpm.TPM) (secret.Bytes, error) { return o.local(ctx, t, c) })
	}
	t, err := tpm.Open(c.TPMDevice)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer t.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := serverOf(ctx, c)
	if err != nil {
		return secret.Bytes{}, err
	}
	k, err := within(ctx, o.limits.tpm, o.limits.ending, "the TPM "+c.TPMDevice, func(ctx context.Context) (*tpm.Kairos, error) {
		return t.Kairos(ctx, tpm2.TPMHandle(c.CIndex))
	})
	if err != nil {
		return secret.Bytes{}, err
	}
	client := &kairos.Client{
		Server: server, TPM: k,
		Live: o.live(), Legacy: c.Legacy == nil || *c.Legacy, Generate: kairos.Generator(k.Encrypt),
	}
	return o.ask(ctx, client, r)
}

// ask asks again until there is a passphrase, or a word that is final.
func (o *options) ask(ctx context.Context, client *kairos.Client, r kairos.Request) (secret.Bytes, error) {
	told := ""
	for attempt := 1; ; attempt++ {
		p, err := within(ctx, o.limits.attempt, o.limits.ending, "an attempt", func(ctx context.Context) (secret.Bytes, error) {
			return client.Ask(ctx, r)
		})
		switch {
		case err == nil:
			return p, nil
		case ctx.Err() != nil:
			return secret.Bytes{}, ctx.Err()
		case attempt >= o.attempts || errors.Is(err, errStuck) || codes.Of(err) != kairos.CodeSilent && codes.Of(err) != kairos.CodeWaiting:
			return secret.Bytes{}, err
		}
		if text := err.Error(); text != told {
			told = text
			o.warn(fmt.Errorf("attempt %d of %d: %w", attempt, o.attempts, err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// local is the mode without a server: what the TPM encrypted lies in its NV.
// The first time it is made.
func (o *options) local(ctx context.Context, t *tpm.TPM, c cloudconfig.Config) (secret.Bytes, error) {
	key, index := tpm2.TPMHandle(c.CIndex), tpm2.TPMHandle(c.NVIndex)
	o.warn(fmt.Errorf("no challenger_server is configured: no server is asked, and the passphrase is the one that this TPM keeps, in NV index %#x", c.NVIndex))
	sealed, err := t.ReadKairos(ctx, index)
	if errors.Is(err, tpm.ErrNoNV) {
		o.warn(fmt.Errorf("there is none in NV index %#x: making it", c.NVIndex))
		made := secret.Passphrase()
		defer made.Wipe()
		if sealed, err = t.EncryptKairos(ctx, key, made); err == nil {
			err = t.WriteKairos(ctx, index, sealed)
		}
		if err == nil { // what will be read at each boot
			sealed, err = t.ReadKairos(ctx, index)
		}
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	return t.DecryptKairos(ctx, key, sealed)
}

// live tells whether an installer or a net boot runs, whose boot state is not
// that of the system on the disk.
func (o *options) live() bool {
	text, err := os.ReadFile(o.commandLine)
	if err != nil {
		return false
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(string(text), w) {
				return true
			}
		}
		return false
	}
	return has("live:LABEL", "live:CDLABEL", "netboot") && !has("kairos.ram", "kairos.reset", "COS_ACTIVE", "COS_PASSIVE", "COS_RECOVERY")
}
