package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/internal/kube"
)

const long = `Answers multicast DNS (mDNS) on the LAN for a key server (KMS) that cannot do
so itself: one in a Kubernetes cluster, on another VLAN, or behind a router.
Machines that boot ask for the name or the service by multicast and learn from
the answer where the KMS is. The answer is only a hint: a machine trusts the KMS
by its pinned key, so a wrong target here costs time, never a secret.

Run it as a service on any machine in the LAN of those that boot. It needs no
terminal and no privilege, shares port 5353 with avahi-daemon, follows changes of
links and addresses, and says goodbye when it is stopped. Run it on two machines
if one may fail. A target that stops responding is withdrawn until it responds
again; --check says how that is tested.

Targets come from --target, from a file that is read again when it changes, or
from a Kubernetes Service or Ingress. A line of the file is

  HOST ADDRESS:PORT [SERVICE,SERVICE...]     # comment

An ADDRESS that is left out (:PORT) stands for this machine: each link is told
the machine's own addresses on it.

In a cluster, run it on every node with the host's network. It announces, in
this order: the external IPs and the load balancer's addresses of a Service
(names are looked up), else its node port at the node's own addresses. A Service
that has none of these (ClusterIP) cannot be reached from the LAN, and the
responder says so; give it an Ingress and use --kubernetes-ingress.`

const example = `  # the KMS is at 192.0.2.5, port 7741 as by default; machines ask for kms.local
  latchkey-responder --host kms.local --target 192.0.2.5:7741

  # the KMS is on this machine, at each link's own addresses
  latchkey-responder --host kms.local --target :7741

  # IPv4 and IPv6, on one link only, for machines of Kairos as well
  latchkey-responder --host kms.local --target 192.0.2.5:7741 \
      --target '[2001:db8::5]:7741' --interface eth1 \
      --service _latchkey._tcp,_kcrypt._tcp

  # many key servers from a file, with metrics and status
  latchkey-responder --targets /etc/latchkey/targets --listen 127.0.0.1:9741
  latchkey-responder status

  # in a pod: the port lk1 of the Service latchkey-kms in the namespace keys
  latchkey-responder --host kms.local --kubernetes-service keys/latchkey-kms:lk1`

// defaultListen is where status looks without --listen.
const defaultListen = "127.0.0.1:9741"

type options struct {
	hosts, targets, interfaces, services, text []string
	instance, file, kube, ingress              string
	check, listen                              string
	account                                    string // directory of the pod's service account
	every                                      time.Duration
	verbose                                    bool
}

func command(ctx context.Context, stdout, stderr io.Writer) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "latchkey-responder --host NAME.local --target ADDRESS:PORT",
		Short: "Answer multicast DNS for a key server that cannot do so itself",
		Long:  long, Example: example, Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			level := slog.LevelInfo
			if o.verbose {
				level = slog.LevelDebug
			}
			return run(ctx, o, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})))
		},
	}

	f := c.Flags()
	o.hosts = []string{"kms.local"}
	f.Var(cli.List(&o.hosts), "host", "name to answer for, ending in .local; repeat it for more names")
	f.StringArrayVar(&o.targets, "target", nil, "ADDRESS:PORT of the KMS, or :PORT on this machine; repeat it for more addresses")
	f.StringVar(&o.file, "targets", "", "file with targets, read again when it changes")
	f.StringVar(&o.kube, "kubernetes-service", "", "NAMESPACE/NAME[:PORT] of the Service that is the target; PORT is a name or a number (default the first)")
	f.StringVar(&o.ingress, "kubernetes-ingress", "", "NAMESPACE/NAME[:PORT] of the Ingress that is the target (default port 443 with TLS, else 80)")
	f.StringVar(&o.account, "kubernetes-account", kube.AccountDir, "directory of the service account's token and ca.crt")
	f.Var(cli.List(&o.interfaces), "interface", "links to answer on, such as eth0 or en* (default all that can be part of a LAN)")
	o.services = []string{"_latchkey._tcp"}
	f.Var(cli.List(&o.services), "service", "DNS-SD service types to answer for")
	f.StringVar(&o.instance, "instance", "", "instance name of the service that people see (default the first label of the host)")
	f.StringArrayVar(&o.text, "txt", []string{"v=1"}, "TXT string of the service, key=value")
	f.StringVar(&o.check, "check", "http", "how a target shows that it is up: http (any HTTP answer), tcp (it accepts a connection), off")
	f.DurationVar(&o.every, "check-every", 10*time.Second, "time between checks of a target")
	f.StringVar(&o.listen, "listen", "", "address for /metrics, /status and /healthz, such as "+defaultListen+" (default none)")
	f.BoolVar(&o.verbose, "verbose", false, "also log what is ignored or tried again")
	c.AddCommand(statusCommand(stdout))
	return c
}

// validate tells what is wrong with the flags, as a usage error.
func (o *options) validate() error {
	sources := 0
	for _, given := range []bool{len(o.targets) > 0, o.file != "", o.kube != "", o.ingress != ""} {
		if given {
			sources++
		}
	}

	switch {
	case sources == 0:
		return cli.Usagef("--target is missing: the address and port of the KMS, such as 192.0.2.5:7741")
	case sources > 1:
		return cli.Usagef("--target, --targets, --kubernetes-service and --kubernetes-ingress are mutually exclusive")
	case !slices.Contains([]string{"http", "tcp", "off"}, o.check):
		return cli.Usagef("--check %q: want http, tcp or off", o.check)
	case o.every < time.Second:
		return cli.Usagef("--check-every %s: want one second or more", o.every)
	case len(o.hosts) == 0:
		return cli.Usagef("--host is empty: a name such as kms.local")
	}

	if len(o.targets)*len(o.hosts) > maxTargets {
		return cli.Usagef("%d targets for %d hosts make %d, the limit is %d", len(o.targets), len(o.hosts), len(o.targets)*len(o.hosts), maxTargets)
	}
	if _, err := o.parseKubes(); err != nil {
		return cli.Usagef("%w", err)
	}
	if _, _, err := discover.UnknownNames(o.interfaces); err != nil {
		return cli.Usagef("--interface: %w", err)
	}

	return nil
}

// fixed makes targets of --host and --target.
func (o *options) fixed() ([]target, error) {
	var out []target
	for _, h := range o.hosts {
		for _, t := range o.targets {
			addr, err := parseTarget(t)
			if err != nil {
				return nil, err
			}
			out = append(out, target{h, addr, strings.Join(o.services, ",")})
		}
	}
	return out, nil
}
