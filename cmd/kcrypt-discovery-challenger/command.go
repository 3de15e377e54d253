package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/cloudconfig"
	"latchkey/unlock/tpm"
)

const long = `Takes the place of Kairos' executable of the same name: it asks a key server for
the passphrases of encrypted partitions and proves this machine by its TPM.
Copy it over /system/discovery/kcrypt-discovery-challenger, or to /oem/kcrypt,
/oem/system/discovery; Kairos starts it.

Without arguments it prints this machine's TPMHash, which the key server's
documents name it by (latchkey-kms kairos approve TPMHASH).

Settings come from the cloud-configs of the machine (*.yaml and *.yml below /oem,
/sysroot/oem, /tmp/oem, /run/cos/oem; what a later one says wins), then from the
kernel's command line (kcrypt.challenger.challenger_server=URL,
kcrypt.challenger.mdns=true), then from WSS_SERVER in the environment, then from
flags:

  #cloud-config
  kcrypt:
    challenger:
      challenger_server: https://kms.local
      mdns: true           # look for _kcrypt._tcp whose host is kms.local
      certificate: |       # PEM, or the path of a file; it alone is trusted
        -----BEGIN CERTIFICATE-----
      legacy: false        # never the older exchange, which shows no boot state
    tpm_device: /dev/tpmrm0

A cloud-config that cannot be read, or whose kcrypt has a mistake or a key that
is not known, is an error, and there is no passphrase: only files that are fine
and name no server mean that there is none. (A broken file without a word of
kcrypt, and keys of other programs in kcrypt, are named on standard error.)

A certificate is verified against the name in challenger_server, wherever mDNS
says that the server is. Without challenger_server no server is asked: the
passphrase is made once, encrypted by the TPM's key at c_index (0x81000008) and
kept in its NV index nv_index (0x1500000); standard error says so each time.

Nothing but the answer is printed on standard output. Exits 1 if there is none,
64 for wrong flags; discovery.password exits 0 and has the error in its answer.`

const example = `  # what the key server's documents name this machine by
  kcrypt-discovery-challenger

  # what Kairos does at boot: the answer is one line of JSON
  echo '{"name":"discovery.password","data":"{\"label\":\"COS_OEM\"}"}' |
      kcrypt-discovery-challenger discovery.password

  # by hand, and what is wrong if it does not work
  kcrypt-discovery-challenger get --partition-label COS_PERSISTENT \
      --challenger-server http://192.0.2.5:7741 --attempts 1`

// options are what the executable works with. Those of the machine are set by
// main; the others by flags.
type options struct {
	dirs           []string
	commandLine    string // path
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	limits         limits

	server, certificate, device string
	mdns                        bool
	attempts                    int
}

func command(ctx context.Context, o *options) *cobra.Command {
	root := &cobra.Command{
		Use: "kcrypt-discovery-challenger", Short: "Ask a key server for the passphrases of Kairos' partitions",
		Long: long, Example: example, Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.hash(ctx) },
	}
	root.AddCommand(getCommand(ctx, o), infoCommand(ctx, o), eventCommand(ctx, o))
	return root
}

// warn tells people something, beside the answer.
func (o *options) warn(err error) { fmt.Fprintf(o.stderr, "kcrypt-discovery-challenger: %v\n", err) }

// config is what files, command line, environment and flags say.
func (o *options) config() (cloudconfig.Config, error) {
	c, err := cloudconfig.Read(o.dirs, o.warn)
	if err != nil {
		return c, err
	}
	text, err := os.ReadFile(o.commandLine)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("reading the kernel command line: %w", err)
	}
	if err := c.AddCommandLine(string(text)); err != nil {
		return c, err
	}
	if server := o.getenv("WSS_SERVER"); server != "" {
		c.Server = server
	}
	if o.server != "" {
		c.Server = o.server
	}
	if o.certificate != "" {
		c.Certificate = o.certificate
	}
	if o.device != "" {
		c.TPMDevice = o.device
	}
	c.MDNS = c.MDNS || o.mdns
	if err := c.Alone(); err != nil {
		return c, err
	}
	for _, d := range []struct {
		to        *uint32
		otherwise tpm2.TPMHandle
	}{{&c.NVIndex, tpm.KairosNV}, {&c.CIndex, tpm.KairosKey}} {
		if *d.to == 0 {
			*d.to = uint32(d.otherwise)
		}
	}
	if c.TPMDevice == "" {
		c.TPMDevice = tpm.DefaultPath
	}
	return c, nil
}

// withTPM runs f with a TPM, which may take its time, but not for ever.
func withTPM[T any](ctx context.Context, l limits, device string, f func(ctx context.Context, t *tpm.TPM) (T, error)) (T, error) {
	return within(ctx, l.tpm, l.ending, "the TPM "+device, func(ctx context.Context) (out T, err error) {
		t, err := tpm.Open(device)
		if err != nil {
			return out, err
		}
		defer t.Close()
		return f(ctx, t)
	})
}

func (o *options) hash(ctx context.Context) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	hash, err := withTPM(ctx, o.limits, c.TPMDevice, func(ctx context.Context, t *tpm.TPM) (string, error) { return t.Hash(ctx) })
	if err != nil {
		return err
	}
	_, err = io.WriteString(o.stdout, hash)
	return err
}
