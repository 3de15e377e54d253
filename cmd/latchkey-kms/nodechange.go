package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	kairoskeeper "latchkey/kms/server/kairos/keeper"
	"latchkey/kms/server/lk1"
	taloskeeper "latchkey/kms/server/talos/keeper"
)

// nodeChange is a command that changes one node's state.
func nodeChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	shown, unmeasured, yes := "", false, false
	cmd := &cobra.Command{
		Use: verb + " WORDS... | NAME | ID", Short: short, Long: long, Args: cli.Args(cobra.MinimumNArgs(1)),
		Example: "  latchkey-kms node " + verb + " copper lantern drift meadow quiet anvil",
		RunE: func(c *cobra.Command, args []string) error {
			var n lk1.Node
			query := who(args)
			if verb == "accept" && shown == "" && terminal(c) {
				var err error
				if shown, err = ask.look(c, query, "accept what it showed last?"); err != nil {
					return err
				}
			}
			if shown != "" {
				query.Set("shown", shown)
			}
			if unmeasured {
				query.Set("unmeasured", "true")
			}
			if verb == "delete" && !yes && terminal(c) {
				if err := confirm(c, fmt.Sprintf("The TPM of %q is refused until you undelete it; its volumes and their secrets stay until you move or delete them. Go on?", query.Get("who"))); err != nil {
					return err
				}
			}
			if err := ask.call(c.Context(), "POST", "/v1/node/"+verb, query, nil, &n); err != nil {
				return err
			}
			return out.show(c, n, func() { printChanged(c.OutOrStdout(), verb, n) })
		},
	}
	if verb == "delete" {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask on a terminal whether this is meant")
	}
	if verb == "accept" {
		cmd.Flags().BoolVar(&unmeasured, "unmeasured", false, "take a boot whose initrd nothing measures: anyone at the disk can replace it")
		cmd.Flags().StringVar(&shown, "shown", "", "digest that \"node show\" printed; another is refused")
	}
	return cmd
}

func printChanged(w io.Writer, verb string, n lk1.Node) {
	if n.Needs != "" {
		fmt.Fprintf(w, "NOT done yet: %s: %s\n", n.Words, n.Needs)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", n.Words, n.Describe())
	if verb == "accept" {
		printCover(w, n)
	}
}

// renewLapsed renews all that lapsed, whatever they speak.
func renewLapsed(c *cobra.Command, ask *asker, out *output) error {
	var all struct {
		Nodes  []lk1.Node          `json:"nodes"`
		Kairos []kairoskeeper.Node `json:"kairos"`
		Talos  []taloskeeper.Node  `json:"talos"`
	}
	needs := "" // of any: each call says it of its own answer
	for _, one := range []struct {
		path string
		to   any
	}{{"/v1/nodes/renew", &all.Nodes}, {"/v1/kairos/nodes/renew", &all.Kairos}, {"/v1/talos/nodes/renew", &all.Talos}} {
		if err := ask.call(c.Context(), "POST", one.path, nil, nil, one.to); err != nil {
			return err
		}
		needs = cmp.Or(needs, ask.needs)
	}
	ask.needs = needs
	return out.show(c, all, func() {
		w := c.OutOrStdout()
		for _, n := range all.Nodes {
			printChanged(w, "renew", n)
		}
		for _, n := range all.Kairos {
			printStanding(w, "Kairos "+n.Hash.String(), n.Describe(), n.Needs)
		}
		for _, n := range all.Talos {
			printStanding(w, "Talos "+n.UUID.String(), n.Describe(), n.Needs)
		}
	})
}

// nodeRenew renews one approval, or all that lapsed.
func nodeRenew(ask *asker, out *output) *cobra.Command {
	var lapsed, back bool
	c := &cobra.Command{
		Use: "renew WORDS... | NAME | ID | --lapsed | --back", Short: "Renew an approval that lapsed by silence, or of a machine that vanished",
		Long: `Renews the approval of a machine that was silent for too long, or vanished, and
lets it through for an hour outside its windows. It binds no volume, and takes no
other boot state. After the key server's clock was wrong, --lapsed renews all
that lapsed, also of Kairos and Talos. After a network was cut, --back renews those that vanished and were
seen again in the network that they were in: not one that is still away.`,
		Example: "  latchkey-kms node renew copper lantern drift meadow quiet anvil",
		Args:    cli.Args(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			if (lapsed || back) != (len(args) == 0) || lapsed && back {
				return cli.Usagef("name one machine, or say --lapsed or --back")
			}
			if lapsed {
				return renewLapsed(c, ask, out)
			}
			var nodes []lk1.Node
			if back {
				if err := ask.call(c.Context(), "POST", "/v1/nodes/renew", url.Values{"back": {strconv.FormatBool(back)}}, nil, &nodes); err != nil {
					return err
				}
			} else {
				var n lk1.Node
				if err := ask.call(c.Context(), "POST", "/v1/node/renew", who(args), nil, &n); err != nil {
					return err
				}
				nodes = append(nodes, n)
			}
			return out.show(c, nodes, func() {
				for _, n := range nodes {
					printChanged(c.OutOrStdout(), "renew", n)
				}
			})
		},
	}
	c.Flags().BoolVar(&lapsed, "lapsed", false, "all machines whose approval lapsed")
	c.Flags().BoolVar(&back, "back", false, "all machines that vanished and are back in their networks")
	return c
}
