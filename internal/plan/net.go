package plan

import (
	"encoding"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Net is how the network of a boot is to be set up. The zero value is
// what most machines need: every link up, DHCP and router advertisements
// on all of them, the first usable answer wins.
type Net struct {
	IPs         []IP         `json:"ip,omitempty"`         // ip=, in order
	Names       []LinkName   `json:"ifname,omitempty"`     // ifname=
	BootMAC     MAC          `json:"bootif,omitempty"`     // BOOTIF=, the link the firmware booted from
	BootDev     string       `json:"bootdev,omitempty"`    // bootdev=, the link that gets the default route
	Nameservers []netip.Addr `json:"nameserver,omitempty"` // nameserver=, asked before those of DHCP
	NoPeerDNS   bool         `json:"no_peerdns,omitempty"` // rd.peerdns=0: DNS servers of DHCP and RA are not used
	Routes      []Route      `json:"route,omitempty"`      // rd.route=
	VLANs       []VLAN       `json:"vlan,omitempty"`       // vlan=
	Bonds       []Bond       `json:"bond,omitempty"`       // bond=
	Bridges     []Bridge     `json:"bridge,omitempty"`     // bridge=
	Timeouts    NetTimeouts  `json:"timeouts,omitzero"`    // rd.net.timeout.*
	Keep        bool         `json:"keep,omitempty"`       // rd.latchkey.keepnet: links stay as they are for the real root
}

// Method is one way for a link to get its addresses.
type Method string

// The methods of dracut.cmdline(7). on, any and single-dhcp are DHCP.
// Static stands for none and off with an address and may have others beside
// it. Off stands for none and off without one: the link is left alone. Off6
// is ip6=off: no addresses of IPv6 but the link-local one.
const (
	DHCP    Method = "dhcp"
	DHCP6   Method = "dhcp6"
	Auto6   Method = "auto6"      // SLAAC
	Either6 Method = "either6"    // SLAAC, else DHCPv6
	Link6   Method = "link6"      // IPv6 link-local only
	Link4   Method = "link-local" // IPv4 link-local (RFC 3927), at once
	Static  Method = "static"
	Off     Method = "off"
	Off6    Method = "off6"
)

// IP is one ip= line: how one link, or every link, gets its addresses.
type IP struct {
	Link     string       `json:"link,omitempty"` // "" is every link that no other line names
	Methods  []Method     `json:"method"`
	Address  netip.Prefix `json:"address,omitzero"`
	Peer     netip.Addr   `json:"peer,omitzero"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	Hostname string       `json:"hostname,omitempty"` // sent by DHCP
	MTU      int          `json:"mtu,omitempty"`
	MAC      MAC          `json:"mac,omitempty"`
	DNS      []netip.Addr `json:"dns,omitempty"`
}

// LinkName renames the link with this hardware address.
type LinkName struct {
	Name string `json:"name"`
	MAC  MAC    `json:"mac"`
}

// Route is one rd.route= line.
type Route struct {
	To   netip.Prefix `json:"to"`
	Via  netip.Addr   `json:"via,omitzero"`
	Link string       `json:"link,omitempty"`
}

// VLAN is one vlan= line.
type VLAN struct {
	Name string `json:"name"`
	On   string `json:"on"` // the link that carries it
	ID   int    `json:"id"` // 1 to 4094
}

// Bond is one bond= line.
type Bond struct {
	Name    string       `json:"name"`
	Ports   []string     `json:"ports"`
	Options []BondOption `json:"options,omitempty"`
	MTU     int          `json:"mtu,omitempty"`
}

// BondOption is one option of the bonding module (modinfo bonding), its
// name and value checked.
type BondOption struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Bridge is one bridge= line.
type Bridge struct {
	Name  string   `json:"name"`
	Ports []string `json:"ports"`
}

// NetTimeouts are the rd.net.timeout.* options; 0 is dracut's default. The
// network is never given up, so they say when something else is begun (DHCP:
// an IPv4 link-local address; IPv6Auto: DHCPv6 for either6) or when the log
// tells what is missing (IfLink, Carrier, IfUp).
type NetTimeouts struct {
	DHCP     time.Duration `json:"dhcp_ns,omitempty"`
	IfLink   time.Duration `json:"iflink_ns,omitempty"`
	IfUp     time.Duration `json:"ifup_ns,omitempty"`
	IPv6Auto time.Duration `json:"ipv6auto_ns,omitempty"`
	Carrier  time.Duration `json:"carrier_ns,omitempty"`
}

// MAC is a hardware address as text, lower case with colons.
type MAC string

var _ encoding.TextUnmarshaler = (*MAC)(nil)

// ParseMAC reads six octets (Ethernet) or twenty (InfiniBand), separated
// by colons or dashes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 && len(hw) != 20 || strings.Contains(s, ".") {
		return "", fmt.Errorf("%q is not a hardware address, want 52:54:00:12:34:56", s)
	}
	return MAC(hw.String()), nil
}

// UnmarshalText is ParseMAC, so that a plan file cannot hold another form.
func (m *MAC) UnmarshalText(text []byte) error {
	parsed, err := ParseMAC(string(text))
	if err == nil {
		*m = parsed
	}
	return err
}

// HardwareAddr returns the octets, nil for the empty MAC.
func (m MAC) HardwareAddr() net.HardwareAddr {
	hw, err := net.ParseMAC(string(m))
	if err != nil {
		return nil
	}
	return hw
}
