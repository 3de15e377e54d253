package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// bond reads [<name>[:<links>[:<options>[:<mtu>]]]]; alone it is
// bond0:eth0,eth1:mode=balance-rr.
func (p *netParser) bond(value string) error {
	f, err := splitFields(dashedSystem(value))
	if err != nil {
		return err
	}

	b := Bond{Name: cmp.Or(field(f, 0), "bond0")}
	if !isLinkName(b.Name) {
		return badName(b.Name)
	}
	b.Ports = p.ports(b.Name, cmp.Or(field(f, 1), "eth0,eth1"))
	if len(b.Ports) == 0 {
		return fmt.Errorf("bond %s has no links under it", b.Name)
	}

	b.Options = p.bondOptions(cmp.Or(field(f, 2), "mode=balance-rr"))
	if mtu := field(f, 3); mtu != "" {
		if b.MTU, err = parseInt(mtu, minMTU, maxMTU); err != nil {
			p.drop("MTU %s", err)
		}
	}
	if len(f) > 4 {
		p.drop("after <name>:<links>:<options>:<mtu> nothing may follow (IPv6 addresses in brackets)")
	}

	if len(p.net.Bonds) == maxLayers {
		return fmt.Errorf("more than %d bond= options", maxLayers)
	}
	if p.net.makes(b.Name) {
		return fmt.Errorf("link %s is made twice", b.Name)
	}
	p.net.Bonds = append(p.net.Bonds, b)
	p.came("made", b.Name)
	return nil
}

// dashedSystem writes the hardware address of ad_actor_system= with dashes:
// a colon ends the options.
func dashedSystem(value string) string {
	const option, size = "ad_actor_system=", len("00:00:00:00:00:00")
	before, after, found := strings.Cut(value, option)
	if !found || len(after) < size {
		return value
	}
	return before + option + strings.ReplaceAll(after[:size], ":", "-") + after[size:]
}

// bondWords are the options of Documentation/networking/bonding.rst that
// sysfs has (drivers/net/bonding/bond_sysfs.c), and the words each takes;
// nil stands for a number.
var bondWords = map[string][]string{
	"mode":              {"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"},
	"miimon":            nil,
	"updelay":           nil,
	"downdelay":         nil,
	"peer_notif_delay":  nil,
	"arp_interval":      nil,
	"arp_missed_max":    nil,
	"arp_ip_target":     {},
	"arp_validate":      {"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"},
	"arp_all_targets":   {"any", "all"},
	"primary":           {},
	"primary_reselect":  {"always", "better", "failure"},
	"fail_over_mac":     {"none", "active", "follow"},
	"xmit_hash_policy":  {"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"},
	"lacp_rate":         {"slow", "fast"},
	"ad_select":         {"stable", "bandwidth", "count"},
	"ad_actor_sys_prio": nil,
	"ad_actor_system":   {},
	"ad_user_port_key":  nil,
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

// bondOptions reads name=value with commas between; a list inside a value
// (arp_ip_target) has semicolons.
func (p *netParser) bondOptions(text string) []BondOption {
	var options []BondOption
	if commas := bondCommas(text); commas != text {
		p.drop("options of a bond stand with commas between: read as %s", commas)
		text = commas
	}
	for word := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(word, "=")
		if name == "missed_max" { // bonding.rst's name for what sysfs calls so
			name = "arp_missed_max"
		}

		o := BondOption{Name: name, Value: value}
		switch err := o.check(); {
		case word == "":
		case err != nil && name == "mode":
			// The driver's own default, balance-rr, needs a switch that is set up for it.
			p.drop("%s; active-backup is used, which works with any switch", err)
			options = append(options, BondOption{Name: name, Value: "active-backup"})
		case err != nil:
			p.drop("%s", err)
		case slices.ContainsFunc(options, func(p BondOption) bool { return p.Name == name }):
			p.drop("bond option %s is given twice; the first counts", name)
		default:
			options = append(options, o.byWord())
		}
	}
	return options
}

// bondCommas puts commas for the semicolons before an option's name, which
// part addresses only.
func bondCommas(text string) string {
	words := strings.Split(text, ";")
	for i, word := range words[1:] {
		sep := ";"
		if name, _, ok := strings.Cut(word, "="); ok && bondOptionName(name) {
			sep = ","
		}
		words[i+1] = sep + word
	}
	return strings.Join(words, "")
}

func bondOptionName(name string) bool {
	_, known := bondWords[name]
	return known || name == "missed_max"
}

// byWord replaces the number of a word, which the module takes as well, and
// writes values as sysfs has them.
func (o BondOption) byWord() BondOption {
	words := bondWords[o.Name]
	if o.Name == "ad_actor_system" {
		o.Value = strings.ReplaceAll(strings.ToLower(o.Value), "-", ":") // as sysfs takes it
	}
	if n, err := parseInt(o.Value, 0, len(words)-1); err == nil {
		o.Value = words[n]
	}
	return o
}

func (o BondOption) check() error {
	words, known := bondWords[o.Name]
	switch {
	case slices.Contains([]string{"ns_ip6_target", "coupled_control", "lacp_active"}, o.Name):
		return fmt.Errorf("bond option %s is not there yet: the kernel takes it by netlink only", o.Name)
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
	case o.Name == "ad_actor_system":
		if mac, err := ParseMAC(o.Value); err != nil || len(mac) != len("00:00:00:00:00:00") {
			return fmt.Errorf("bond option ad_actor_system: %q is not a hardware address", o.Value)
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
