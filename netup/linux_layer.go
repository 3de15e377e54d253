package netup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"latchkey/internal/plan"
)

func addVLAN(o AddVLAN) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = o.Name, o.Parent
	return netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: o.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
}

func addBridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	// Multicast snooping without a querier on the LAN loses mDNS after
	// some minutes.
	snooping := false
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
}

// addBond makes a bond and writes its options to sysfs, which takes the
// words of the command line as they are, and a primary that is not
// plugged in yet (Documentation/networking/bonding.rst). plan.ParseNet has
// checked names and values.
func addBond(b plan.Bond) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.Name, b.MTU
	if err := netlink.LinkAdd(netlink.NewLinkBond(attrs)); err != nil {
		return err
	}

	for _, o := range bondOptions(b.Options) {
		if err := setBondOption(b.Name, o); err != nil {
			return err
		}
	}
	return nil
}

func setBondOption(bond string, o plan.BondOption) error {
	for value := range strings.SplitSeq(o.Value, ";") {
		if o.Name == "arp_ip_target" {
			value = "+" + value
		}
		path := filepath.Join("/sys/class/net", bond, "bonding", o.Name)
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("setting %s: %w", o.Name, err)
		}
	}
	return nil
}

// bondOptions puts the mode first, on which the others depend, and adds a
// link monitor if there is none: without, a dead port is never left.
func bondOptions(options []plan.BondOption) []plan.BondOption {
	has := func(name string) bool {
		return slices.ContainsFunc(options, func(o plan.BondOption) bool { return o.Name == name })
	}
	out := slices.Clone(options)
	slices.SortStableFunc(out, func(a, b plan.BondOption) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.Name == "mode"] - rank[b.Name == "mode"]
	})
	if !has("miimon") && !has("arp_interval") {
		out = append(out, plan.BondOption{Name: "miimon", Value: "100"})
	}
	return out
}
