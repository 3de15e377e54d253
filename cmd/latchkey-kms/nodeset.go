package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"latchkey/kms/server/lk1"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/kms/server/policy"
)

// settingFlags are the flags of node set, as they were typed.
type settingFlags struct {
	silence, outside, role, unmeasured  string
	presence, moved                     string
	announce, announceFor               string
	perBoot, perHour, stores, own       int
	name                                string
	windows, networks, releases, accept []string
	labels, unlabels                    []string
	clear                               []string
}

func nodeSet(ask *asker, out *output) *cobra.Command {
	var f settingFlags
	c := &cobra.Command{
		Use:   "set WORDS... | NAME | ID",
		Short: "Set when, from where and how often a machine may get its keys",
		Long: `Sets the machine's own settings, which override those of the configuration.
A list (--window, --network, --release, --accept) replaces the one that the machine had.
--clear removes a setting, so that the configuration's applies again.

A label puts the machine into the configuration's groups.`,
		Example: `  latchkey-kms node set copper lantern drift meadow quiet anvil --window "mon-fri 06:00-20:00 Europe/Berlin"
  latchkey-kms node set 6f3c99a1 --network 192.0.2.0/24 --network 2001:db8:1::/64 --per-boot 3
  latchkey-kms node set 6f3c99a1 --label site=berlin --silence 90d
  latchkey-kms node set 6f3c99a1 --name till-5
  latchkey-kms node set 6f3c99a1 --clear windows,networks`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := f.change(c)
			if err != nil {
				return err
			}
			var n lk1.Node
			if err := ask.call(c.Context(), "POST", "/v1/node/set", who(args), set, &n); err != nil {
				return err
			}
			return out.show(c, n, func() {
				if n.Needs != "" {
					printChanged(c.OutOrStdout(), "set", n)
					return
				}
				fmt.Fprintf(c.OutOrStdout(), "words:       %s\n", n.Words)
				printTerms(c.OutOrStdout(), n.Labels, n.Settings)
			})
		},
	}

	f.add(c.Flags(), policy.LK1)
	c.Flags().StringVar(&f.name, "name", "", "name of the machine, which commands take instead of its words: the label name; '' removes it")
	return c
}

// add makes a flag of each setting that the protocol's machines have.
func (f *settingFlags) add(to *pflag.FlagSet, protocol policy.Protocol) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringVar(&f.silence, "silence", "", "how long it may be silent before it needs approval again: 90d; 0: any time")
	flags.StringVar(&f.presence, "presence", "", "how long nobody may see it before it needs approval again: 10m; 0: any time")
	flags.StringVar(&f.moved, "moved", "", "in another network than before: allow, approve (node renew takes it), or refuse")
	flags.IntVar(&f.perBoot, "per-boot", 0, "releases in one boot; 0: any number")
	flags.IntVar(&f.perHour, "per-hour", 0, "releases within an hour; 0: any number")
	flags.IntVar(&f.stores, "stores-per-hour", 0, fmt.Sprintf("puts and enrolls within an hour (%d if nothing is set); 0: any number", policy.DefaultStores))
	flags.IntVar(&f.own, "own-volumes", 0, fmt.Sprintf("volumes that it may have and still take more by itself (%d if nothing is set)", policy.DefaultVolumes))
	flags.StringArrayVar(&f.windows, "window", nil, `when it may get its keys: "mon-fri 22:00-06:00 Europe/Berlin"; repeatable`)
	flags.StringVar(&f.outside, "outside", "", "outside the windows: refuse, or approve (an approval lasts an hour)")
	flags.Var(cli.List(&f.networks), "network", "network that it may ask from: 192.0.2.0/24; repeatable")
	flags.Var(cli.List(&f.releases), "release", "image release of the configuration that it must boot, or none; repeatable")
	flags.Var(cli.List(&f.accept), "accept", "changes of its boot state that need no operator: microsoft-2023, revocations, or none; repeatable")
	flags.StringVar(&f.role, "role", "", "any, boot (may store no secrets), or install (may store secrets until its first boot)")
	flags.StringVar(&f.announce, "announce", "", "whether its system may announce that the next boot will be another one: allow or refuse")
	flags.StringVar(&f.announceFor, "announce-for", "", "how long an announcement holds: 2h (default: 24h)")
	flags.StringVar(&f.unmeasured, "unmeasured", "", "a boot whose initrd nothing measures: ask (approve wants --unmeasured), allow or refuse")
	flags.Var(cli.List(&f.labels), "label", "label to set: site=berlin; repeatable")
	flags.Var(cli.List(&f.unlabels), "unlabel", "label to remove: site; repeatable")
	flags.Var(cli.List(&f.clear), "clear", "settings to remove: "+strings.Join(protocol.Settings(), ", "))
	flags.VisitAll(func(one *pflag.Flag) {
		if setting := flagSettings[one.Name]; setting == "" || !protocol.Lacks(setting) {
			to.AddFlag(one)
		}
	})
}

// flagSettings are the settings that flags are for.
var flagSettings = map[string]string{
	"silence": "silence", "presence": "presence", "moved": "moved", "per-boot": "per-boot", "per-hour": "per-hour", "stores-per-hour": "stores-per-hour", "own-volumes": "own-volumes",
	"window": "windows", "outside": "outside", "network": "networks", "release": "releases", "accept": "accept", "role": "role",
	"announce": "announce", "announce-for": "announce-for", "unmeasured": "unmeasured",
}

// change takes the flags that were given.
func (f *settingFlags) change(c *cobra.Command) (set policy.Change, err error) {
	given := c.Flags().Changed
	set.Clear, set.Labels = f.clear, map[string]string{}
	for _, one := range []struct {
		flag, text string
		to         **policy.Duration
	}{{"silence", f.silence, &set.Settings.Silence}, {"presence", f.presence, &set.Settings.Presence}, {"announce-for", f.announceFor, &set.Settings.AnnounceFor}} {
		if !given(one.flag) {
			continue
		}
		d, err := policy.ParseDuration(one.text)
		if err != nil {
			return set, cli.Usagef("--%s: %w", one.flag, err)
		}
		*one.to = &d
	}

	for _, one := range []struct {
		flag string
		from *int
		to   **int
	}{
		{"per-boot", &f.perBoot, &set.Settings.PerBoot},
		{"per-hour", &f.perHour, &set.Settings.PerHour},
		{"stores-per-hour", &f.stores, &set.Settings.StoresPerHour},
		{"own-volumes", &f.own, &set.Settings.OwnVolumes},
	} {
		if given(one.flag) {
			*one.to = one.from
		}
	}

	for _, text := range f.windows {
		w, err := policy.ParseWindow(text)
		if err != nil {
			return set, cli.Usagef("--window: %w", err)
		}
		set.Settings.Windows = append(set.Settings.Windows, w)
	}

	for _, text := range f.networks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return set, cli.Usagef("--network: %w", err)
		}
		set.Settings.Networks = append(set.Settings.Networks, p)
	}

	set.Settings.Announce, set.Settings.Moved = policy.Announce(f.announce), policy.Moved(f.moved)
	set.Settings.Unmeasured, set.Settings.Accept = policy.Unmeasured(f.unmeasured), f.accept
	set.Settings.Outside, set.Settings.Role, set.Settings.Releases = policy.Outside(f.outside), policy.Role(f.role), f.releases
	for _, text := range f.labels {
		key, value, err := policy.ParseLabel(text)
		if err != nil {
			return set, cli.Usagef("--label: %w", err)
		}
		set.Labels[key] = value
	}

	if err := f.setName(given("name"), set.Labels); err != nil {
		return set, err
	}
	for _, key := range f.unlabels {
		set.Labels[key] = ""
	}
	if nothing(set) {
		return set, cli.Usagef("nothing to set (see %s --help)", c.CommandPath())
	}

	return set, nil
}

// setName puts the name among the labels, if it was given.
func (f *settingFlags) setName(given bool, labels map[string]string) error {
	if !given {
		return nil
	}
	if _, _, err := policy.ParseLabel("name=" + f.name); err != nil {
		return cli.Usagef("--name: %w", err)
	}
	labels["name"] = f.name
	return nil
}

// printTerms prints a machine's own settings and labels.
func printTerms(w io.Writer, labels map[string]string, s policy.Settings) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(w, "label:       %s=%s\n", key, labels[key])
	}
	line := func(name string, value any) { fmt.Fprintf(w, "%-12s %v\n", name+":", value) }
	if s.Silence != nil {
		line("silence", *s.Silence)
	}
	printPresenceTerms(line, s)

	if s.PerBoot != nil {
		line("per boot", *s.PerBoot)
	}
	if s.PerHour != nil {
		line("per hour", *s.PerHour)
	}
	if s.StoresPerHour != nil {
		line("stores per hour", *s.StoresPerHour)
	}
	if s.Approvals != nil {
		line("approvals", *s.Approvals)
	}
	if s.OwnVolumes != nil {
		line("own volumes", *s.OwnVolumes)
	}

	for _, window := range s.Windows {
		line("window", window)
	}
	if s.Outside != "" {
		line("outside", s.Outside)
	}

	for _, p := range s.Networks {
		line("network", p)
	}
	for _, r := range s.Releases {
		line("release", r)
	}
	for _, r := range s.Accept {
		line("accepts", r)
	}

	if s.Role != "" {
		line("role", s.Role)
	}
	if s.Announce != "" {
		line("announce", s.Announce)
	}
	if s.AnnounceFor != nil {
		line("announced for", *s.AnnounceFor)
	}
	if s.Unmeasured != "" {
		line("unmeasured", s.Unmeasured)
	}
}
