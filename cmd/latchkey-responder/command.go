package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/kube"
)

const long = `Answers multicast DNS on the LAN for a key server (KMS) that cannot: one in
a Kubernetes cluster, on another VLAN, or behind a router. Machines that boot
ask for the name or the service by multicast and learn from the answer where
the KMS is. The answer is only a hint: a machine trusts the KMS by its pinned
key, so a wrong target here costs time, never a secret.

Run it on any machine that stands on the LAN of those that boot, as a service:
it needs no terminal and no privilege, shares port 5353 with avahi-daemon,
follows address changes, and says goodbye when it is stopped. A target that
does not answer is taken back until it does.

Targets come from --target, from a file that is read again when it changes, or
from a Kubernetes Service. A line of the file is

  HOST ADDRESS:PORT [SERVICE,SERVICE...]     # comment`

const example = `  # the KMS is at 192.0.2.5, port 8443; machines ask for kms.local
  latchkey-responder --host kms.local --target 192.0.2.5:8443

  # IPv4 and IPv6, on one link only, for Kairos' nodes too
  latchkey-responder --host kms.local --target 192.0.2.5:8443 --target '[2001:db8::5]:8443' \
      --interface eth1 --service _latchkey._tcp,_kcrypt._tcp

  # many key servers, with metrics, and what is going on
  latchkey-responder --targets /etc/latchkey/targets --listen 127.0.0.1:9741
  latchkey-responder status`

// defaultListen is where status looks without --listen.
const defaultListen = "127.0.0.1:9741"

type options struct {
	hosts, targets, interfaces, services, text []string
	instance, file, kube, check, listen        string
	account                                    string // directory of the pod's service account
	every                                      time.Duration
	verbose                                    bool
}

func command(ctx context.Context, stdout, stderr io.Writer) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "latchkey-responder --host NAME.local --target ADDRESS:PORT",
		Short: "Answer multicast DNS for a key server that is elsewhere",
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
	f.StringSliceVar(&o.hosts, "host", []string{"kms.local"}, "name to answer for, ending in .local; repeat it for more names")
	f.StringArrayVar(&o.targets, "target", nil, "address and port of the KMS; repeat it for more addresses")
	f.StringVar(&o.file, "targets", "", "file with targets, read again when it changes")
	f.StringVar(&o.kube, "kubernetes-service", "", "NAMESPACE/NAME[:PORT] of a Service whose external addresses are the targets")
	f.StringVar(&o.account, "kubernetes-account", kube.AccountDir, "directory of the service account's token and ca.crt")
	f.StringSliceVar(&o.interfaces, "interface", nil, "links to answer on (default all)")
	f.StringSliceVar(&o.services, "service", []string{"_latchkey._tcp"}, "DNS-SD service types to answer for")
	f.StringVar(&o.instance, "instance", "", "service instance name that people see (default first label of the host)")
	f.StringArrayVar(&o.text, "txt", []string{"v=1"}, "TXT string of the service, key=value")
	f.StringVar(&o.check, "check", "http", "sign of life that a target must give: http (any answer), tcp (it accepts), off")
	f.DurationVar(&o.every, "check-every", 10*time.Second, "time between two checks of a target")
	f.StringVar(&o.listen, "listen", "", "address for /metrics, /status and /healthz, such as "+defaultListen+" (default none)")
	f.BoolVar(&o.verbose, "verbose", false, "log what is ignored and tried again, too")
	c.AddCommand(statusCommand(stdout))
	return c
}

// validate tells what is wrong with the flags, as a usage error.
func (o *options) validate() error {
	sources := 0
	for _, given := range []bool{len(o.targets) > 0, o.file != "", o.kube != ""} {
		if given {
			sources++
		}
	}

	switch {
	case sources == 0:
		return cli.Usagef("--target is missing: the address and port of the KMS, such as 192.0.2.5:8443")
	case sources > 1:
		return cli.Usagef("--target, --targets and --kubernetes-service exclude each other")
	case !slices.Contains([]string{"http", "tcp", "off"}, o.check):
		return cli.Usagef("--check %q is none of http, tcp, off", o.check)
	case o.every < time.Second:
		return cli.Usagef("--check-every %s is below one second", o.every)
	case len(o.hosts) == 0:
		return cli.Usagef("--host is empty: a name such as kms.local")
	}

	if len(o.targets)*len(o.hosts) > maxTargets {
		return cli.Usagef("%d targets for %d hosts are more than %d", len(o.targets), len(o.hosts), maxTargets)
	}
	if o.kube != "" {
		if _, err := parseKube(o.kube); err != nil {
			return cli.Usagef("%w", err)
		}
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
