package netup

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"latchkey/internal/plan"
)

// Kernel is what netup asks of the kernel's network.
type Kernel interface {
	// Watch returns a channel that gets a value after something about a
	// link or an address has changed, until ctx ends.
	Watch(ctx context.Context) (<-chan struct{}, error)
	// Devices lists the network interfaces with their addresses, in the
	// order of their indexes.
	Devices() ([]Device, error)
	// Place tells what a device is and where it stands. That does not
	// change, so it is asked for once.
	Place(d Device) Place
	// Do carries out one change.
	Do(op Op) error
	// Open returns a socket for one protocol on one link. Its addresses are
	// of type HW, but *net.UDPAddr for Renew4 and DHCP6, and *net.IPAddr for
	// NDP.
	Open(index int, p Protocol) (net.PacketConn, error)
}

// A Device is a network interface as the kernel has it.
type Device struct {
	Index   int
	Name    string
	Kind    string // IFLA_INFO_KIND: "vlan", "bond", "bridge", "veth", "ipoib", "dsa"; "" if the driver has none
	Alias   string // IFLA_IFALIAS, where netup notes what to undo
	MAC     net.HardwareAddr
	PermMAC net.HardwareAddr // the hardware's own, nil if the kernel does not tell
	MTU     int
	Master  int  // index of the bond or bridge that this is a port of
	Lower   int  // IFLA_LINK: index of the link that carries this one
	Ether   bool // Ethernet or InfiniBand, as opposed to loopback and tunnels
	Up      bool // IFF_UP: administratively up
	Carrier bool // IFF_LOWER_UP, and not dormant (802.1X): frames pass
	Addrs   []Addr
	Place   Place // filled in by netup
}

// A Place is what sysfs tells of a device.
type Place struct {
	Names []string // that udev would give it: "enp1s0"
	Bus   bool     // it stands on a bus (PCI, USB, platform, …): hardware, whatever its Kind
	Radio bool     // Wi-Fi or a cellular modem, which need more than a link that is up
}

// An Addr is an address of a Device.
type Addr struct {
	netip.Prefix
	Tentative bool // duplicate address detection goes on or failed: RFC 4862, section 5.4
}

// A Protocol is something that netup speaks on a link itself.
type Protocol int

// The payload of a DHCP4 socket is an IPv4 packet, of a Renew4 socket a
// DHCP message, of an ARP socket an ARP packet, of a DHCP6 socket a DHCPv6
// message, of an NDP socket an ICMPv6 message. A Renew4 socket only sends:
// what comes back arrives at the DHCP4 socket, too.
const (
	DHCP4 Protocol = iota + 1
	Renew4
	ARP
	DHCP6
	NDP
)

// HW is a hardware address as a net.Addr.
type HW string

// HWAddr makes a HW of octets.
func HWAddr(mac net.HardwareAddr) HW { return HW(mac) }

// Network is the net.Addr method.
func (HW) Network() string { return "packet" }

func (h HW) String() string { return net.HardwareAddr(h).String() }

// An Op is one change to the kernel's network.
type Op interface{ op() }

// The changes that netup makes.
type (
	SetUp   struct{ Index int }
	SetDown struct{ Index int }
	SetName struct {
		Index int
		Name  string
	}
	// SetAlias notes on the link itself what was changed, so that a worker
	// that was started again can still undo it.
	SetAlias struct {
		Index int
		Alias string
	}
	AddVLAN struct {
		plan.VLAN
		Parent int // index
	}
	AddBond   struct{ plan.Bond }
	AddBridge struct{ Name string }
	// SetBondOption sets an option of a bond that exists.
	SetBondOption struct {
		Bond string
		plan.BondOption
	}
	SetMaster struct{ Index, Master int }
	DelLink   struct{ Index int }
	SetMTU    struct{ Index, MTU int }
	SetMAC    struct {
		Index int
		MAC   net.HardwareAddr
	}
	// SetSysctl writes /proc/sys/net/<Family>/conf/<link>/<Key>. Without a
	// Value it is set to what conf/default has, as on a new link.
	SetSysctl struct {
		Index              int
		Family, Key, Value string
	}
	AddAddr struct {
		Index  int
		Prefix netip.Prefix
		Peer   netip.Addr
		Valid  time.Duration // 0 is for ever
	}
	DelAddr struct {
		Index  int
		Prefix netip.Prefix
	}
	AddRoute struct {
		Index  int
		To     netip.Prefix
		Via    netip.Addr // invalid: on the link
		Metric int
	}
	DelRoute AddRoute
)

func (SetUp) op()         {}
func (SetDown) op()       {}
func (SetName) op()       {}
func (SetAlias) op()      {}
func (AddVLAN) op()       {}
func (AddBond) op()       {}
func (AddBridge) op()     {}
func (SetBondOption) op() {}
func (SetMaster) op()     {}
func (DelLink) op()       {}
func (SetMTU) op()        {}
func (SetMAC) op()        {}
func (SetSysctl) op()     {}
func (AddAddr) op()       {}
func (DelAddr) op()       {}
func (AddRoute) op()      {}
func (DelRoute) op()      {}

// OptionsError tells which options of a link were refused. The link itself
// is there.
type OptionsError struct{ Refused []error }

func (e *OptionsError) Error() string {
	return strings.ReplaceAll(errors.Join(e.Refused...).Error(), "\n", "; ")
}

func (e *OptionsError) Unwrap() []error { return e.Refused }
