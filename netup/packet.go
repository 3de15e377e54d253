package netup

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open returns a socket of packet(7) for DHCP4 and ARP: a DHCP client has
// no address that the kernel's UDP could use. IPv6 always has one.
func (Linux) Open(index int, p Protocol) (net.PacketConn, error) {
	switch p {
	case DHCP4:
		return openPacket(index, unix.ETH_P_IP, toClientPort)
	case ARP:
		return openPacket(index, unix.ETH_P_ARP, notMeantAsProbe)
	case Renew4:
		return openRenew4(index)
	case DHCP6:
		return openDHCP6(index)
	case NDP:
		return openNDP(index)
	}
	return nil, fmt.Errorf("opening a socket: protocol %d is not known", p)
}

// toClientPort lets UDP packets to port 68 pass that are not fragments:
// the filter begins at the IP header.
var toClientPort = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// notMeantAsProbe passes all but requests from 0.0.0.0 that are sent to us
// alone. Switches ask so whether we are still there (Cisco's IP Device
// Tracking), with our address as the target; who probes for an address of
// his own asks all (RFC 5227, section 2.1.1).
var notMeantAsProbe = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfPacketType},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_HOST, Jf: 5},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arpRequest, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 14},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
}

// skfPacketType is SKF_AD_OFF + SKF_AD_PKTTYPE of linux/filter.h.
const skfPacketType = 0xfffff000 + 4

func openPacket(index int, proto uint16, filter []unix.SockFilter) (net.PacketConn, error) {
	// Protocol 0 receives nothing until the filter is there and bind says
	// which protocol it is.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}

	c := &packetConn{index: index, proto: proto<<8 | proto>>8, broadcast: broadcastHW}
	if mac := broadcastOf(index); isInfiniBand(mac) {
		c.broadcast = HWAddr(mac)
	}
	if len(filter) > 0 {
		prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("filtering a packet socket: %w", err)
		}
	}

	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: c.proto, Ifindex: index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding a packet socket: %w", err)
	}

	c.file = os.NewFile(uintptr(fd), "packet")
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("binding a packet socket: %w", err)
	}

	return c, nil
}

// broadcastOf returns the broadcast address of a link; nil is not known.
func broadcastOf(index int) net.HardwareAddr {
	link, err := linkAt(index)
	if err != nil || !isInfiniBand(link.HardwareAddr) {
		return nil
	}
	mac, err := net.ParseMAC(readText("/sys/class/net", link.Name, "broadcast"))
	if err != nil {
		return nil
	}
	return mac
}

// packetConn is a packet socket as a net.PacketConn. The os.File gives it
// the poller, and with it deadlines.
type packetConn struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	proto uint16 // network byte order
	// broadcast is the address of all: not the same on each link of
	// InfiniBand.
	broadcast HW
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var n int
	var from unix.Sockaddr
	var errRead error
	err := c.raw.Read(func(fd uintptr) bool {
		n, from, errRead = unix.Recvfrom(int(fd), b, 0)
		return errRead != unix.EAGAIN
	})
	if err == nil && errRead != nil {
		err = os.NewSyscallError("recvfrom", errRead)
	}
	if err != nil {
		return 0, nil, err
	}

	ll, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return n, HW(""), nil
	}
	return n, HW(ll.Addr[:min(int(ll.Halen), len(ll.Addr))]), nil
}

// A sockaddrLL is struct sockaddr_ll of packet(7) with room for the longest
// hardware address, MAX_ADDR_LEN; x/sys/unix has room for eight bytes.
type sockaddrLL struct {
	family   uint16
	protocol uint16
	ifindex  int32
	hatype   uint16
	pkttype  uint8
	halen    uint8
	addr     [32]byte
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	mac, ok := to.(HW)
	if mac == broadcastHW {
		mac = c.broadcast
	}
	ll := sockaddrLL{family: unix.AF_PACKET, protocol: c.proto, ifindex: int32(c.index), halen: uint8(len(mac))}
	if !ok || len(mac) > len(ll.addr) || len(b) == 0 {
		return 0, fmt.Errorf("sending a packet: %v is not a hardware address", to)
	}

	copy(ll.addr[:], mac)
	size := unsafe.Offsetof(ll.addr) + uintptr(max(len(mac), 8))
	var errno syscall.Errno
	err := c.raw.Write(func(fd uintptr) bool {
		_, _, errno = unix.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, uintptr(unsafe.Pointer(&ll)), size)
		return errno != unix.EAGAIN
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("sendto", errno)
	}
	if err != nil {
		return 0, err
	}

	return len(b), nil
}

func (c *packetConn) Close() error                       { return c.file.Close() }
func (c *packetConn) LocalAddr() net.Addr                { return HW("") }
func (c *packetConn) SetDeadline(t time.Time) error      { return c.file.SetDeadline(t) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { return c.file.SetReadDeadline(t) }
func (c *packetConn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }
