package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

type discovery struct {
	urls, services, interfaces, pins []string
	wait                             time.Duration
	json                             bool
	first                            bool // listen no longer than until one holds a key of ours
}

func discoverCommand() *cobra.Command {
	var o discovery
	c := &cobra.Command{
		Use:   "discover",
		Short: "Show which key servers answer on this LAN",
		Long: `Asks as the init does, by multicast DNS on every link and from the DNS servers
of this machine (/etc/resolv.conf; the init asks those that DHCP or the plan
names), and lists who answers. Links that only containers use are left out
unless --interface names them.

It asks each for a challenge: with --pin it says whether that is signed with the
key, without whether one comes ("unchecked"). This machine's TPM takes no part,
and no KMS shows a machine that waits for approval because of it. The exit code
is 1 if none answers or, with --pin, none holds one of the keys.`,
		Example: `  latchkey discover
  latchkey discover --url http://kms.example.com --interface 'en*'
  latchkey discover --url http://kms.local --pin lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.OutOrStdout()) },
	}

	f := c.Flags()
	o.urls = []string{"http://kms.local"}
	f.Var(cli.List(&o.urls), "url", "where to ask, as in find.urls")
	o.services = []string{kms.Service}
	f.Var(cli.List(&o.services), "service", "DNS-SD types to browse for")
	f.Var(cli.List(&o.interfaces), "interface", "links to ask on, such as eth0 or en* (default all that can be part of a LAN)")
	f.Var(cli.List(&o.pins), "pin", "KMS keys that count as ours, as 'latchkey-kms trust' prints them")
	f.DurationVar(&o.wait, "wait", 3*time.Second, "how long to listen")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// A found is one line of the answer.
type found struct {
	Address  string `json:"address"`
	Name     string `json:"name"`
	Instance string `json:"instance,omitempty"`
	Source   string `json:"source"`
	Link     string `json:"link,omitempty"`
	Pin      string `json:"pin"` // "ours", "another key", "unchecked" if none was given, or the code of a failure
}

func (o *discovery) run(ctx context.Context, out io.Writer) error {
	client := &kms.Client{}
	for _, p := range o.pins {
		pin, err := kms.ParsePin(p)
		if err != nil {
			return &cli.Exit{Code: cli.Usage, Err: err}
		}
		client.Pins = append(client.Pins, pin)
	}

	finder, err := discover.NewFinder(discover.Query{URLs: o.urls, Services: o.services}, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return &cli.Exit{Code: cli.Usage, Err: err}
	}

	switch unknown, links, err := discover.UnknownNames(o.interfaces); {
	case err != nil:
		return &cli.Exit{Code: cli.Usage, Err: err}
	case len(unknown) > 0:
		return cli.Usagef("--interface %s: this machine has no such link, but %s", strings.Join(unknown, ","), strings.Join(links, ", "))
	}

	all, err := o.listen(ctx, finder, client)
	if err != nil {
		return err
	}

	if o.json {
		return errors.Join(json.NewEncoder(out).Encode(all), o.outcome(all))
	}
	if len(all) == 0 {
		return o.nobody()
	}

	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tNAME\tFOUND BY\tLINK\tKEY")
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Address, cli.OneLine(f.Name), f.Source, f.Link, cli.OneLine(f.Pin))
	}
	return errors.Join(t.Flush(), o.outcome(all))
}

const (
	ours      = "ours"
	another   = "another key"
	unchecked = "unchecked"
)

// outcome is an error if no machine would get anything from what was found:
// none answers or, with --pin, none holds one of the keys.
func (o *discovery) outcome(all []found) error {
	answers := func(f found) bool { return f.Pin == ours || f.Pin == another || f.Pin == unchecked }
	switch {
	case len(all) == 0:
		return o.nobody()
	case !slices.ContainsFunc(all, answers):
		return errors.New("none of these is a key server that answers")
	case len(o.pins) > 0 && !slices.ContainsFunc(all, func(f found) bool { return f.Pin == ours }):
		return errors.New("no key server here holds a key of --pin")
	}
	return nil
}

// nobody says what to look at when nothing was found.
func (o *discovery) nobody() error {
	asked := "no DNS server: /etc/resolv.conf names none"
	if servers := discover.HostServers().DNS; len(servers) > 0 {
		asked = fmt.Sprintf("the DNS servers %v", servers)
	}
	return fmt.Errorf("nothing answers for %s: asked by multicast and %s; for a .local name or a service, is latchkey-responder or 'latchkey-kms serve --advertise' running on this LAN?",
		strings.Join(append(slices.Clone(o.urls), o.services...), ", "), asked)
}

// listen gathers candidates until the time is over, and asks each for a
// challenge meanwhile.
func (o *discovery) listen(ctx context.Context, finder *discover.Finder, client *kms.Client) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { finder.Run(ctx) })
	servers := discover.HostServers()
	failed := make(chan error, 1)
	workers.Go(func() {
		if err := discover.WatchInterfaces(ctx, o.interfaces, func(links []discover.Interface) { finder.Update(append(links, servers)) }); err != nil && ctx.Err() == nil {
			failed <- err
			cancel()
		}
	})

	var mu sync.Mutex
	all := []found{}
	var asked sync.WaitGroup
	for {
		c, err := finder.Next(ctx)
		if err != nil {
			break // the time is over
		}
		asked.Go(func() {
			f := found{c.Addr.String(), c.Host, c.Instance, string(c.Source), c.Link, whose(ctx, client, c)}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, f)
			if o.first && f.Pin == ours {
				cancel()
			}
		})
	}

	asked.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return all, nil
	}
}

// whose asks for a challenge with a made-up TPM and goes no further than
// the signature: errStop comes instead of an activation. Without a pin it
// asks for one that nobody holds: what answers then is a key server.
func whose(ctx context.Context, client *kms.Client, c discover.Candidate) string {
	other := another
	if len(client.Pins) == 0 {
		client, other = &kms.Client{Pins: []kms.Pin{{}}}, unchecked
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	prover, err := softtpm.New()
	if err != nil {
		return err.Error()
	}

	url := kms.Endpoint{Host: c.Addr.Addr().String(), Port: c.Addr.Port()}.String()
	_, err = client.Get(ctx, url, stopping{prover}, []kms.Want{{UUID: kms.UUID{1}}})
	var coded interface{ Code() string }
	switch {
	case errors.Is(err, errStop):
		return ours
	case errors.As(err, &coded) && coded.Code() == kms.CodeWrongPin:
		return other
	case errors.As(err, &coded):
		return coded.Code()
	}

	return fmt.Sprint(err)
}

var errStop = errors.New("the signature is all that was wanted")

// stopping is a prover that ends the exchange before anything is proved.
type stopping struct{ kms.Prover }

func (stopping) Activate(context.Context, []byte, []byte) (secret.Bytes, error) {
	return secret.Bytes{}, errStop
}
