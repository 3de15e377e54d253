package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// bond reads [<name>[:<links>[:<options>[:<mtu>]]]]; alone it is
// bond0:eth0,eth1:mode=balance-rr.
func (p *netParser) bond(a Arg) error {
	f, err := splitFields(a.Value)
	if err != nil {
		return err
	}

	if len(f) > 4 {
		return p.bondWithAddresses(a)
	}
	fill := []string{"bond0", "eth0,eth1", "mode=balance-rr", ""}
	for i, field := range f {
		if field != "" {
			fill[i] = field
		}
	}

	b := Bond{Name: fill[0]}
	if !isLinkName(b.Name) {
		return badName(b.Name)
	}

	if b.Ports, err = parsePorts(b.Name, fill[1]); err != nil {
		return err
	}
	if b.Options, err = parseBondOptions(fill[2]); err != nil {
		return err
	}

	if fill[3] != "" {
		if err := setInt(&b.MTU, fill[3], minMTU, maxMTU); err != nil {
			return fmt.Errorf("MTU %w", err)
		}
	}

	if len(p.net.Bonds) == maxLayers {
		return fmt.Errorf("more than %d bond= options", maxLayers)
	}
	return p.layer(b.Name, func() { p.net.Bonds = append(p.net.Bonds, b) })
}

func (p *netParser) bondWithAddresses(a Arg) error {
	return fmt.Errorf("%q has too many fields, want <name>:<links>:<options>:<mtu> (ns_ip6_target is not there yet)", a.Value)
}

// bondWords are the options of Documentation/networking/bonding.rst and
// the words each takes; nil stands for a number.
var bondWords = map[string][]string{
	"mode":              {"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"},
	"miimon":            nil,
	"updelay":           nil,
	"downdelay":         nil,
	"arp_interval":      nil,
	"arp_ip_target":     {},
	"arp_validate":      {"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"},
	"arp_all_targets":   {"any", "all"},
	"primary":           {},
	"primary_reselect":  {"always", "better", "failure"},
	"fail_over_mac":     {"none", "active", "follow"},
	"xmit_hash_policy":  {"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"},
	"lacp_rate":         {"slow", "fast"},
	"lacp_active":       {"off", "on"},
	"ad_select":         {"stable", "bandwidth", "count"},
	"num_grat_arp":      nil,
	"num_unsol_na":      nil,
	"resend_igmp":       nil,
	"min_links":         nil,
	"all_slaves_active": nil,
	"packets_per_slave": nil,
	"tlb_dynamic_lb":    nil,
	"lp_interval":       nil,
	"use_carrier":       nil,
}

// parseBondOptions reads name=value with commas between; a list inside a
// value (arp_ip_target) has semicolons.
func parseBondOptions(text string) ([]BondOption, error) {
	var options []BondOption
	for word := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(word, "=")
		o := BondOption{Name: name, Value: value}
		if err := o.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(options, func(p BondOption) bool { return p.Name == name }) {
			return nil, fmt.Errorf("bond option %s is given twice", name)
		}
		options = append(options, o.byWord())
	}
	return options, nil
}

// byWord replaces the number of a word, which the module takes as well.
func (o BondOption) byWord() BondOption {
	words := bondWords[o.Name]
	if n, err := parseInt(o.Value, 0, len(words)-1); err == nil {
		o.Value = words[n]
	}
	return o
}

func (o BondOption) check() error {
	words, known := bondWords[o.Name]
	switch {
	case !known:
		return fmt.Errorf("%q is not an option of a bond (mode=, miimon=, primary=, …)", o.Name)
	case words == nil:
		if _, err := parseInt(o.Value, 0, 65535); err != nil {
			return fmt.Errorf("bond option %s: %w", o.Name, err)
		}

	case o.Name == "primary":
		if !isLinkName(o.Value) {
			return badName(o.Value)
		}
	case o.Name == "arp_ip_target":
		return checkTargets(o.Value)

	case !slices.Contains(words, o.Value):
		if _, err := parseInt(o.Value, 0, len(words)-1); err != nil {
			return fmt.Errorf("bond option %s is %q, want one of %s", o.Name, o.Value, strings.Join(words, ", "))
		}
	}
	return nil
}

// checkTargets: BOND_MAX_ARP_TARGETS of include/net/bonding.h is 16.
func checkTargets(list string) error {
	targets := strings.Split(list, ";")
	if len(targets) > 16 {
		return fmt.Errorf("arp_ip_target has %d addresses, the limit is 16", len(targets))
	}
	for _, t := range targets {
		if a, err := netip.ParseAddr(t); err != nil || !a.Is4() || !isHost(a) {
			return fmt.Errorf("arp_ip_target: %q is not an IPv4 address (several with semicolons)", t)
		}
	}
	return nil
}
