package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/site"
)

func siteCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "site", Short: "Let the servers of sites go on when they are cut off", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `The server of a site holds the keys of the machines of its site, and of no
others. While it can reach the center, which is this server, the center decides
everything. When it cannot, it gives the machines that were approved their keys,
within bounds, and tells the center of it later. The center listens for sites
where sites.address in its configuration says.`,
	}
	c.AddCommand(siteAdd(ask, out), siteList(ask, out), siteShow(ask, out), siteSet(ask, out), siteRemove(ask, out))
	return c
}

func siteAdd(ask *asker, out *output) *cobra.Command {
	n := site.NewSite{}
	var labels []string
	var offline, output string
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a site, and write the file by which its server joins",
		Long: `Adds a site: its machines are those that have all of these labels ("node set
--label"). It is run on the center's host. The file, mode 0600, has a token that is
good once, for a day. Bring it to the site's server and run there: latchkey-kms
init --site FILE.

--offline, --releases, --machines and --in-all bound what the site's server may
give from one time that it hears of the center to the next. With --again what is
not said stays as it was.`,
		Example: `  latchkey-kms site add berlin --label site=berlin --at kms.example.org:7744 --output berlin.site
  latchkey-kms site add berlin --label site=berlin --at kms.example.org:7744 --offline 24h --releases 2 --machines 40 --output berlin.site
  latchkey-kms site add berlin --again --output berlin.site`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) (err error) {
			n.Name, n.Labels = args[0], map[string]string{}
			for _, text := range labels {
				name, value, err := policy.ParseLabel(text)
				if err != nil {
					return cli.Usagef("--label: %w", err)
				}
				n.Labels[name] = value
			}
			if n.Bounds.Offline, err = policy.ParseDuration(offline); err != nil {
				return cli.Usagef("--offline: %w", err)
			}
			if n.Again { // what is not said stays as it was
				unsaid(c, map[string]func(){
					"offline": func() { n.Bounds.Offline = 0 }, "releases": func() { n.Bounds.Releases = 0 }, "machines": func() { n.Bounds.Machines = 0 },
				})
			}
			if output == "" {
				return cli.Usagef("--output is required: the file to create for the site's server")
			}
			f, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("creating the join file: %w", err)
			}
			var file site.JoinFile
			if err = ask.call(c.Context(), "POST", "/v1/site/add", nil, n, &file); err == nil {
				err = json.NewEncoder(f).Encode(file)
			}
			if failed := f.Close(); err == nil {
				err = failed
			}
			if err != nil {
				os.Remove(output)
				return err
			}
			file.Token = ""
			return out.show(c, file, func() {
				fmt.Fprintf(c.OutOrStdout(), "added site %s; its server joins with %s, once, until %s:\nlatchkey-kms init --site %s\n", file.Site, output, file.Expires.Format(time.RFC3339), output)
			})
		},
	}
	c.Flags().StringArrayVar(&labels, "label", nil, "NAME=VALUE that the site's machines have; again for a second one that they have, too")
	c.Flags().Var(cli.List(&n.Center), "at", "HOST:PORT of sites.address, as the site's server reaches it")
	c.Flags().StringVar(&offline, "offline", "72h", "for how long it goes on when it is cut off, at most 30d")
	c.Flags().IntVar(&n.Bounds.Releases, "releases", 3, "how often one machine gets its keys meanwhile")
	c.Flags().IntVar(&n.Bounds.Machines, "machines", 50, "how many machines get theirs")
	c.Flags().IntVar(&n.Bounds.InAll, "in-all", 0, "how often keys are given to all of them (default: releases times machines)")
	c.Flags().BoolVar(&n.Again, "again", false, "for a site that there is: another server takes the place of its own")
	c.Flags().StringVar(&output, "output", "", "file to create")
	return c
}

// unsaid does what is to be done for flags that were not given.
func unsaid(c *cobra.Command, flags map[string]func()) {
	for name, do := range flags {
		if !c.Flags().Changed(name) {
			do()
		}
	}
}

func siteList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the sites, and how it stands with their servers", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms site list",
		RunE: func(c *cobra.Command, _ []string) error {
			var sites []site.Status
			if err := ask.call(c.Context(), "GET", "/v1/sites", nil, nil, &sites); err != nil {
				return err
			}
			return out.show(c, sites, func() { printSites(c.OutOrStdout(), sites) })
		},
	}
}

func printSites(out io.Writer, sites []site.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "SITE\tSTATE\tMACHINES\tCOPIES\tLAST HEARD\tGAVE")
	for _, s := range sites {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\n", s.Name, s.State, s.Machines, s.Copies, since(s.Heard), s.Gave)
	}
}

func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func siteShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a site, and what the images of its machines trust", Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms site show berlin",
		RunE: func(c *cobra.Command, args []string) error {
			var sites []site.Status
			if err := ask.call(c.Context(), "GET", "/v1/sites", url.Values{"name": args}, nil, &sites); err != nil {
				return err
			}
			return out.show(c, sites[0], func() { printSite(c.OutOrStdout(), sites[0]) })
		},
	}
}

func printSite(w io.Writer, s site.Status) {
	fmt.Fprintf(w, "site %s: %s\n", s.Name, strings.TrimSpace(s.State+" "+s.Refused))
	var labels []string
	for name, value := range s.Labels {
		labels = append(labels, name+"="+value)
	}
	slices.Sort(labels)
	fmt.Fprintf(w, "machines with %s: %d, copies %s\n", strings.Join(labels, " and "), s.Machines, s.Copies)
	fmt.Fprintf(w, "last heard: %s, %d events of its log not taken over yet\n", since(s.Heard), s.Behind)
	fmt.Fprintf(w, "gave keys while it was cut off: %d times, last: %s\n", s.Gave, since(s.LastGave))
	fmt.Fprintf(w, "when it is cut off it goes on for %s, with %d releases a machine, %d machines, %d releases in all\n", s.Bounds.Offline, s.Bounds.Releases, s.Bounds.Machines, s.Bounds.InAll)
	if len(s.Trust) > 0 {
		fmt.Fprintln(w, "in the images of its machines:")
		printTrust(w, ledger.Trust{KMS: s.Trust})
	}
}

func siteRemove(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "End a site: its server destroys what it has when it hears of it",
		Long: `The center answers the site's server no more. When it hears that, it destroys
its copies and gives nothing from then on. One that was stolen may never ask:
quarantine what it held, give the volumes other secrets ("volume rotate"), and
build images that no longer trust its key.`,
		Example: "  latchkey-kms site remove berlin", Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var s site.Status
			if err := ask.call(c.Context(), "POST", "/v1/site/remove", url.Values{"name": args}, nil, &s); err != nil {
				return err
			}
			return out.show(c, s, func() { fmt.Fprintf(c.OutOrStdout(), "removed site %s\n", s.Name) })
		},
	}
}

// maxSiteFile bounds a join file, in bytes.
const maxSiteFile = 16 << 10

// initSite makes a KMS that is the server of a site.
func initSite(c *cobra.Command, h home.Home, path string, pcrs []int, out *output) error {
	text, err := datafile.Read(path, maxSiteFile)
	if err != nil {
		return fmt.Errorf("reading the join file: %w", err)
	}
	var file site.JoinFile
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("reading the join file %s: %w", path, err)
	}
	if err := file.Check(time.Now()); err != nil {
		return err
	}
	if h.Place.Shared() {
		return cli.Usagef("--site: the server of a site keeps its copies in a file of its own, not in a store that several servers share")
	}
	pin, err := h.Create(c.Context(), pcrs)
	if err != nil {
		return err
	}
	s, err := h.Open(c.Context(), server.Config{})
	if err != nil {
		return err
	}
	if err := errors.Join(site.Become(c.Context(), s.Ledger, file), s.Close()); err != nil {
		return err
	}
	all := append(slices.Clone(file.KMS), pin.String())
	return out.show(c, ledger.Trust{KMS: all}, func() {
		fmt.Fprintf(c.OutOrStdout(), "created the server of site %s in %s; it joins when it serves\nin the images of the site's machines:\n", file.Site, h.Data)
		printTrust(c.OutOrStdout(), ledger.Trust{KMS: all})
	})
}
