package netup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"latchkey/internal/ifwatch"
	"latchkey/internal/order"
)

// Linux is the Kernel of the calling process' network namespace.
type Linux struct{}

// Watch subscribes to rtnetlink(7).
func (Linux) Watch(ctx context.Context) (<-chan struct{}, error) { return ifwatch.Watch(ctx) }

// Place looks into sysfs.
func (Linux) Place(d Device) Place { return placeOf("/sys", d.Name) }

// Devices dumps links and addresses. A dump that a change interrupted is
// used as it is: the change itself wakes the watcher, which asks again.
func (Linux) Devices() ([]Device, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing links: %w", err)
	}

	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}

	devices := make([]Device, 0, len(links))
	at := map[int]int{}
	for _, l := range links {
		at[l.Attrs().Index] = len(devices)
		devices = append(devices, device(l))
	}

	for _, a := range addrs {
		if i, ok := at[a.LinkIndex]; ok {
			devices[i].Addrs = append(devices[i].Addrs, addr(a))
		}
	}

	order.By(devices, func(a, b Device) int { return a.Index - b.Index })
	return devices, nil
}

func device(l netlink.Link) Device {
	a := l.Attrs()
	d := Device{
		Index: a.Index, Name: a.Name, Kind: l.Type(), Alias: a.Alias,
		MAC: a.HardwareAddr, PermMAC: a.PermHWAddr, MTU: a.MTU, Master: a.MasterIndex, Lower: a.ParentIndex,
		Ether: a.EncapType == "ether" || a.EncapType == "infiniband",
		Up:    a.Flags&net.FlagUp != 0,
	}
	if d.Kind == "device" {
		d.Kind = ""
	}

	// A carrier that comes while the driver opens the link makes the kernel
	// pass frames at once, but its operstate follows only with the next run
	// of net/core/link_watch.c, up to a second later (seen with virtio_net
	// on 6.1). So the carrier decides, unless something above it says no.
	d.Carrier = d.Up && a.RawFlags&unix.IFF_LOWER_UP != 0 &&
		a.OperState != netlink.OperDormant && a.OperState != netlink.OperTesting
	return d
}

func addr(a netlink.Addr) Addr {
	ip, _ := netip.AddrFromSlice(a.IP)
	ip = ip.Unmap()
	ones, _ := a.Mask.Size()
	return Addr{
		Prefix: netip.PrefixFrom(ip, ones),
		// An optimistic address may be used while it is checked: RFC 4429.
		Tentative: a.Flags&unix.IFA_F_DADFAILED != 0 ||
			a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
	}
}

// Do carries out one change with a netlink request.
func (Linux) Do(op Op) error {
	if err := do(op); err != nil {
		return fmt.Errorf("%s: %w", opWords(op), err)
	}
	return nil
}

func do(op Op) error {
	switch o := op.(type) {
	case SetUp:
		return netlink.LinkSetUp(byIndex(o.Index))
	case SetDown:
		return netlink.LinkSetDown(byIndex(o.Index))
	case SetName:
		return netlink.LinkSetName(byIndex(o.Index), o.Name)

	case SetAlias:
		return netlink.LinkSetAlias(byIndex(o.Index), o.Alias)
	case AddVLAN:
		return addVLAN(o)
	case AddBond:
		return addBond(o.Bond)

	case AddBridge:
		return addBridge(o.Name)
	case SetBondOption:
		return setBondOption(filepath.Join("/sys/class/net", o.Bond, "bonding"), o.BondOption)
	case SetMaster:
		return netlink.LinkSetMasterByIndex(byIndex(o.Index), o.Master)
	case DelLink:
		return netlink.LinkDel(byIndex(o.Index))

	case SetMTU:
		return netlink.LinkSetMTU(byIndex(o.Index), o.MTU)
	case SetMAC:
		return netlink.LinkSetHardwareAddr(byIndex(o.Index), o.MAC)
	case SetSysctl:
		return setSysctl(o)

	case AddAddr:
		return netlink.AddrReplace(byIndex(o.Index), netAddr(o))
	case DelAddr:
		return netlink.AddrDel(byIndex(o.Index), &netlink.Addr{IPNet: ipNet(o.Prefix)})
	case AddRoute:
		return netlink.RouteReplace(netRoute(o))
	case DelRoute:
		return netlink.RouteDel(netRoute(AddRoute(o)))
	}
	return fmt.Errorf("changing the network: %T is not known", op)
}

func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// linkAt asks the kernel for one link. net.InterfaceByIndex reads all of
// them, which on a machine with hundreds is felt.
func linkAt(index int) (*netlink.LinkAttrs, error) {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, err
	}
	return link.Attrs(), nil
}

func setSysctl(o SetSysctl) error {
	link, err := linkAt(o.Index)
	if err != nil {
		return err
	}
	conf := filepath.Join("/proc/sys/net", o.Family, "conf")
	value := []byte(o.Value)
	if o.Value == "" {
		if value, err = os.ReadFile(filepath.Join(conf, "default", o.Key)); err != nil {
			return err
		}
		// IPv6's ignore_routes_with_linkdown says that it took one byte
		// (addrconf_fixup_linkdown in net/ipv6/addrconf.c returns 1), and a
		// line break written by itself is an invalid argument.
		value = bytes.TrimSpace(value)
	}
	return os.WriteFile(filepath.Join(conf, link.Name, o.Key), value, 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func netAddr(o AddAddr) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(o.Prefix)}
	if o.Peer.IsValid() {
		a.Peer = ipNet(netip.PrefixFrom(o.Peer, o.Peer.BitLen()))
	}
	if o.Valid > 0 {
		a.ValidLft = int(min(o.Valid.Seconds(), 1<<31-1))
		a.PreferedLft = a.ValidLft
	}
	return a
}

func netRoute(o AddRoute) *netlink.Route {
	r := &netlink.Route{LinkIndex: o.Index, Dst: ipNet(o.To), Priority: o.Metric, Protocol: unix.RTPROT_DHCP}
	if o.Via.IsValid() {
		r.Gw = o.Via.AsSlice()
		// The router may stand outside the prefix (a /32 lease).
		r.Flags = int(netlink.FLAG_ONLINK)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}
