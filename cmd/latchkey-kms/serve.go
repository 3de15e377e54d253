package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/daemon"
	"latchkey/kms/home"
)

func serveCommand(flags *config.Flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer machines",
		Long: `Answers machines until SIGTERM. Plain HTTP is as it should be: the protocol
signs and encrypts what it says. Other latchkey-kms commands work meanwhile.

--config names a file that says all that the flags say, and more; flags win
over it. It is read strictly, and again on SIGHUP: a wrong one changes
nothing and is named in the log.

Enrollment "approve" shows machines that nobody knows to the operator;
"closed" refuses all that were not registered beforehand; "cert" shows only
those whose TPM has a certificate of a vendor in --ek-roots. "tofu" trusts any
machine from the first time it asks (one of Kairos gets a key of its own); it
is for labs.

Protocols: "lk1" is latchkey's own; "kairos" serves the nodes of Kairos as
kcrypt-challenger does, old ones and new ones, on the same port. Use TLS for
it (--tls-cert): that protocol sends passphrases as they are.

--talos-listen serves machines of Talos Linux (sidero.kms.KMSService), with
TLS if there is --tls-cert, else in plain text.

--k8s-socket encrypts the Secrets of a Kubernetes cluster (KMS v2 plugin).

--metrics-listen answers monitoring: /metrics for Prometheus, /healthz, and
/readyz, which fails while keys cannot be released (store away, disk full).

--admin-listen serves the administration over HTTPS to who has a token ("admin
token create") or a client certificate that the configuration lists.

--advertise answers multicast DNS for the KMS on the LANs it stands on; for
other LANs there is latchkey-responder.`,
		Example: `  latchkey-kms serve --listen :7741
  latchkey-kms serve --config /etc/latchkey/kms.yaml
  latchkey-kms serve --listen 192.0.2.5:7741 --enroll closed
  latchkey-kms serve --enroll cert --ek-roots /etc/latchkey/ek
  latchkey-kms serve --advertise kms.local
  latchkey-kms serve --protocol lk1,kairos --tls-cert kms.pem --tls-key kms.key`,
		Args: cli.Args(cobra.NoArgs),
	}

	flags = flags.Serve(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		settings, err := flags.Config()
		if err != nil {
			return err
		}
		l, err := settings.Location()
		if err != nil {
			return err
		}
		d := &daemon.Daemon{
			Home: home.Home{Location: l}, Config: settings, Reload: flags.Config,
			Out: c.OutOrStdout(), Errors: c.ErrOrStderr(),
		}
		return d.Run(ctx)
	}

	return c
}
