package netup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"latchkey/internal/order"
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
// checked names and values; what the driver refuses all the same, because it
// does not go with the mode or the kernel is too old, is left out and told as
// an *OptionsError: the bond is there without it.
func addBond(b plan.Bond) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.Name, b.MTU
	if err := netlink.LinkAdd(netlink.NewLinkBond(attrs)); err != nil {
		return err
	}

	return setBondOptions(filepath.Join("/sys/class/net", b.Name, "bonding"), bondOptions(b.Options))
}

// setBondOptions writes options into the bond's folder of sysfs.
func setBondOptions(dir string, options []plan.BondOption) error {
	var refused []error
	for _, o := range options {
		if err := setBondOption(dir, o); err != nil {
			refused = append(refused, err)
		}
	}
	if len(refused) > 0 {
		return &OptionsError{refused}
	}
	return nil
}

func setBondOption(dir string, o plan.BondOption) error {
	for value := range strings.SplitSeq(o.Value, ";") {
		if o.Name == "arp_ip_target" {
			value = "+" + value
		}
		if err := os.WriteFile(filepath.Join(dir, o.Name), []byte(value), 0); err != nil {
			return fmt.Errorf("setting %s=%s: %w", o.Name, o.Value, err)
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
	order.By(out, func(a, b plan.BondOption) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.Name == "mode"] - rank[b.Name == "mode"]
	})
	if !has("miimon") && !has("arp_interval") {
		out = append(out, plan.BondOption{Name: "miimon", Value: "100"})
	}
	return out
}
