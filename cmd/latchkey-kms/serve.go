package main

import (
	"context"
	"fmt"
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
		Long: `Answers machines until SIGTERM. lk1 needs no TLS: the protocol itself signs and
encrypts its messages. Other latchkey-kms commands work while the server runs.

--config names a YAML file that can say all that the flags say, and more; flags
override it. It is read strictly, and again on SIGHUP. A wrong file changes
nothing, and the log names the line.

--enroll says what happens to unknown machines: "approve" makes them pending,
for the operator to approve; "closed" refuses all that are not registered;
"cert" makes only those pending whose TPM has a vendor's certificate
(--ek-roots). "tofu" trusts a machine from its first request on; it is for labs.

--protocol: "lk1" is latchkey's own; "kairos" answers machines of Kairos, old and
new, as kcrypt-challenger does, on the same port. Use TLS for it (--tls-cert):
that protocol sends passphrases in clear. "tang" answers clevis as tangd does; it
needs no TLS.

--talos-listen answers machines of Talos Linux (sidero.kms.KMSService), over TLS
if there is --tls-cert, else in clear.

--k8s-socket encrypts the Secrets of a Kubernetes cluster (KMS v2 plugin).

--metrics-listen answers monitoring: /metrics for Prometheus, /healthz, and
/readyz, which fails while no keys can be released (store away, disk full).

--admin-listen serves the administration over HTTPS, for tokens ("admin token
create") and for client certificates that the configuration lists.

--backup-dir has a backup written every so often (--backup-every), sealed to
--backup-to, verified and read back.

--sites-listen answers the servers of sites ("site add").

--advertise answers multicast DNS for the KMS on the LANs of this host. For other
LANs use latchkey-responder.`,
		Example: `  latchkey-kms serve --listen :7741
  latchkey-kms serve --config /etc/latchkey/kms.yaml
  latchkey-kms serve --config /etc/latchkey/kms.yaml --check
  latchkey-kms serve --listen 192.0.2.5:7741 --enroll closed
  latchkey-kms serve --enroll cert --ek-roots /etc/latchkey/ek
  latchkey-kms serve --advertise kms.local
  latchkey-kms serve --backup-dir /backup --backup-every 6h --backup-to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  latchkey-kms serve --listen :80 --protocol lk1,tang
  latchkey-kms serve --protocol lk1,kairos --tls-cert kms.pem --tls-key kms.key`,
		Args: cli.Args(cobra.NoArgs),
	}

	var check bool
	c.Flags().BoolVar(&check, "check", false, "judge the configuration and the files that it names, and answer nobody")
	flags = flags.Serve(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		settings, err := flags.Config()
		if err != nil {
			return err
		}
		l, err := settings.Location()
		if err != nil {
			return err
		}
		if check {
			h := home.Home{Location: l}
			for _, line := range append(settings.Warnings(), h.Warnings()...) {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", line)
			}
			return h.Check()
		}
		d := &daemon.Daemon{
			Home: home.Home{Location: l}, Config: settings, Reload: flags.Config,
			Out: c.OutOrStdout(), Errors: c.ErrOrStderr(),
		}
		return d.Run(ctx)
	}

	return c
}
