package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/discover"
	"latchkey/internal/cli"
)

const long = `Answers multicast DNS on the LAN for a key server (KMS) that cannot: one in
a Kubernetes cluster, on another VLAN, or behind a router. Machines that boot
ask for the name or the service by multicast and learn from the answer where
the KMS is. The answer is only a hint: a machine trusts the KMS by its pinned
key, so a wrong target here costs time, never a secret.

Run it on any machine that stands on the LAN of those that boot, as a service:
it needs no terminal and no privilege, shares port 5353 with avahi-daemon,
follows address changes, and says goodbye when it is stopped.`

const example = `  # the KMS is at 192.0.2.5, port 8443; machines ask for kms.local
  latchkey-responder --host kms.local --target 192.0.2.5:8443

  # IPv4 and IPv6, on one link only, for Kairos' nodes too
  latchkey-responder --host kms.local --target 192.0.2.5:8443 --target '[2001:db8::5]:8443' \
      --interface eth1 --service _latchkey._tcp,_kcrypt._tcp`

type options struct {
	hosts, targets, interfaces, services, text []string
	instance                                   string
	verbose                                    bool
}

func command(ctx context.Context, stderr io.Writer) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "latchkey-responder --host NAME.local --target ADDRESS:PORT",
		Short: "Answer multicast DNS for a key server that is elsewhere",
		Long:  long, Example: example, Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.run(ctx, stderr) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.hosts, "host", []string{"kms.local"}, "name to answer for, ending in .local; repeat it for more names")
	f.StringArrayVar(&o.targets, "target", nil, "address and port of the KMS; repeat it for more addresses, with the same port")
	f.StringSliceVar(&o.interfaces, "interface", nil, "links to answer on (default all)")
	f.StringSliceVar(&o.services, "service", []string{"_latchkey._tcp"}, "DNS-SD service types to answer for")
	f.StringVar(&o.instance, "instance", "", "service instance name that people see (default first label of --host)")
	f.StringArrayVar(&o.text, "txt", []string{"v=1"}, "TXT string of the service, key=value")
	f.BoolVar(&o.verbose, "verbose", false, "log what is ignored and tried again, too")
	return c
}

// announcements makes what is announced of the flags.
func (o *options) announcements() ([]discover.Announcement, error) {
	if len(o.targets) == 0 {
		return nil, cli.Usagef("--target is missing: the address and port of the KMS, such as 192.0.2.5:8443")
	}
	var addrs []netip.Addr
	var port uint16
	for _, t := range o.targets {
		ap, err := netip.ParseAddrPort(t)
		if err != nil || ap.Port() == 0 {
			return nil, cli.Usagef("--target %q is not ADDRESS:PORT, such as 192.0.2.5:8443 or [2001:db8::5]:8443", t)
		}
		if port != 0 && ap.Port() != port {
			return nil, cli.Usagef("--target %q has another port than %d: run one responder for each", t, port)
		}
		port = ap.Port()
		addrs = append(addrs, ap.Addr())
	}
	var all []discover.Announcement
	for _, h := range o.hosts {
		all = append(all, discover.Announcement{
			Host: h, Addrs: addrs, Port: port, Services: o.services, Instance: o.instance, Text: o.text,
		})
	}
	return all, nil
}

func (o *options) run(ctx context.Context, stderr io.Writer) error {
	all, err := o.announcements()
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	r, err := discover.NewResponder(all, discover.System{}, log)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		defer cancel()
		watched <- discover.WatchInterfaces(ctx, o.interfaces, r.Update)
	}()
	log.Info("answering", "hosts", strings.Join(o.hosts, ","), "targets", strings.Join(o.targets, ","), "services", strings.Join(o.services, ","))
	if err := notify("READY=1"); err != nil {
		log.Warn("telling the service manager", "error", err)
	}
	r.Run(ctx)
	if err := <-watched; err != nil && ctx.Err() == nil {
		return fmt.Errorf("watching links: %w", err)
	}
	log.Info("stopped")
	return nil
}
