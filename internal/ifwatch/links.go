package ifwatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Link is a network link as rtnetlink(7) describes it.
type Link struct {
	Index     int
	Name      string
	Flags     uint32 // IFF_*
	MTU       int    // bytes
	Kind      string // IFLA_INFO_KIND; "" for hardware
	Master    int    // index of the bridge, bond or VRF that it belongs to, or 0
	PortKind  string // IFLA_INFO_SLAVE_KIND: what Master is
	PeerIndex int    // IFLA_LINK: the other end, or the link below; 0 if there is none
	PeerAway  bool   // the peer is in another network namespace
	Carriers  uint32 // how often the carrier came or went: IFLA_CARRIER_CHANGES
	Addrs     []Addr
}

// An Addr is one address of a link.
type Addr struct {
	netip.Prefix
	Flags uint32 // IFA_F_*
}

// Links lists this machine's links with their addresses. It asks the
// kernel twice, however many links there are.
func Links() ([]Link, error) {
	messages, err := dump(unix.RTM_GETLINK)
	if err != nil {
		return nil, fmt.Errorf("listing network links: %w", err)
	}
	var links []Link
	at := map[int]int{} // index of a link → place in links

	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		l := readLink(m)
		at[l.Index] = len(links)
		links = append(links, l)
	}

	if messages, err = dump(unix.RTM_GETADDR); err != nil {
		return nil, fmt.Errorf("listing network addresses: %w", err)
	}

	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		index, a := readAddr(m)
		if i, known := at[index]; known && a.IsValid() {
			links[i].Addrs = append(links[i].Addrs, a)
		}
	}

	return links, nil
}

func dump(request int) ([]syscall.NetlinkMessage, error) {
	raw, err := syscall.NetlinkRIB(request, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	return syscall.ParseNetlinkMessage(raw)
}

// readLink reads struct ifinfomsg and its attributes.
func readLink(m syscall.NetlinkMessage) Link {
	l := Link{Index: int(native(m.Data[4:8])), Flags: native(m.Data[8:12])}
	for kind, value := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = text(value)
		case unix.IFLA_MTU:
			l.MTU = int(native(value))
		case unix.IFLA_MASTER:
			l.Master = int(native(value))
		case unix.IFLA_LINK:
			l.PeerIndex = int(native(value))
		case unix.IFLA_LINK_NETNSID:
			l.PeerAway = true
		case unix.IFLA_CARRIER_CHANGES:
			l.Carriers = native(value)

		case unix.IFLA_LINKINFO:
			for kind, value := range attributes(value) {
				switch kind {
				case unix.IFLA_INFO_KIND:
					l.Kind = text(value)
				case unix.IFLA_INFO_SLAVE_KIND:
					l.PortKind = text(value)
				}
			}
		}
	}

	return l
}

// readAddr reads struct ifaddrmsg and its attributes. IFA_LOCAL is this
// end of a point-to-point link, where IFA_ADDRESS is the other.
func readAddr(m syscall.NetlinkMessage) (index int, a Addr) {
	bits, index := int(m.Data[1]), int(native(m.Data[4:8]))
	a.Flags = uint32(m.Data[2])
	var local, address []byte
	for kind, value := range attributes(m.Data[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = value
		case unix.IFA_ADDRESS:
			address = value
		case unix.IFA_FLAGS:
			a.Flags = native(value)
		}
	}

	if local == nil {
		local = address
	}
	if ip, ok := netip.AddrFromSlice(local); ok {
		a.Prefix = netip.PrefixFrom(ip, bits)
	}
	return index, a
}

// attributes goes through struct rtattr: length and type, 16 bits each,
// then the value, padded to four bytes.
func attributes(b []byte) func(func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if size < unix.SizeofRtAttr || size > len(b) || !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// native reads a number of at most 32 bits; one that is cut off is 0.
func native(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// Asleep is how long this machine has been suspended since it was booted:
// what CLOCK_BOOTTIME has and CLOCK_MONOTONIC has not.
func Asleep() time.Duration {
	var awake, all unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano())
}
