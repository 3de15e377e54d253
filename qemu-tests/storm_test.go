package qemutests

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// storm start|stop: somebody on the LAN sends what nobody should believe,
// a thousand frames a second: half-valid DHCP, DHCPv6 and mDNS answers,
// and router advertisements with lengths that lie.
func cmdStorm(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 1 && args[0] == "start" && w.storm == nil:
		s, err := w.lan.storm()
		ts.Check(err)
		w.storm = s
		ts.Defer(s.stop)
	case len(args) == 1 && args[0] == "stop" && w.storm != nil:
		w.storm.stop()
		w.storm = nil
	default:
		ts.Fatalf("usage: storm start|stop")
	}
}

type storm struct {
	end  chan struct{}
	once sync.Once
	done sync.WaitGroup
}

func (s *storm) stop() { s.once.Do(func() { close(s.end) }); s.done.Wait() }

// storm opens its sockets in the namespace and begins.
func (l *lan) storm() (*storm, error) {
	s := &storm{end: make(chan struct{})}
	var raw int
	var udp *net.UDPConn
	var icmp net.PacketConn
	var link *net.Interface

	err := l.inside(func() (err error) {
		if link, err = net.InterfaceByName("br0"); err != nil {
			return err
		}
		if raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}

		if udp, err = net.ListenUDP("udp6", nil); err != nil {
			return err
		}
		if icmp, err = net.ListenPacket("ip6:ipv6-icmp", "::"); err != nil {
			return err
		}

		p := ipv6.NewPacketConn(icmp)
		p.SetMulticastHopLimit(255)
		p.SetHopLimit(255)
		return p.SetMulticastInterface(link)
	})
	if err != nil {
		return nil, err
	}

	s.done.Go(func() {
		defer unix.Close(raw)
		defer udp.Close()
		defer icmp.Close()
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()

		for {
			select {
			case <-s.end:
				return
			case <-tick.C:
			}
			to := &unix.SockaddrLinklayer{Ifindex: link.Index, Protocol: 0x0008}
			unix.Sendto(raw, frame(67, 68, netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpish()), 0, to)
			unix.Sendto(raw, frame(5353, 5353, netip.AddrFrom4([4]byte{224, 0, 0, 251}), mdnsish()), 0, to)
			udp.WriteTo(mdnsish(), &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: 5353, Zone: link.Name})
			udp.WriteTo(junk(200), &net.UDPAddr{IP: net.ParseIP("ff02::1"), Port: 546, Zone: link.Name})
			icmp.WriteTo(raish(), &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: link.Name})
		}
	})

	return s, nil
}

func junk(most int) []byte {
	b := make([]byte, rand.IntN(most)+1)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// dhcpish is a BOOTREPLY to nobody in particular, its options by chance.
func dhcpish() []byte {
	b := append(make([]byte, 236), 0x63, 0x82, 0x53, 0x63)
	copy(b, junk(236))
	b[0], b[1], b[2] = 2, 1, 6
	return append(b, junk(300)...)
}

// mdnsish is a response whose counts and names lie.
func mdnsish() []byte {
	b := append([]byte{0, 0, 0x84, 0, 0, 0}, junk(60)...)
	return append(append(b, "\x03kms\x05local\x00\x00\x01\x80\x01"...), junk(100)...)
}

// raish is a router advertisement with a long life and options of any
// length (RFC 4861, section 4.2).
func raish() []byte {
	b := append([]byte{134, 0, 0, 0, 64, byte(rand.Uint32()), 0xff, 0xff}, make([]byte, 8)...)
	for range 3 {
		b = append(b, byte(rand.IntN(40)), byte(rand.IntN(8)))
		b = append(b, junk(40)...)
	}
	return b
}

// frame is an Ethernet broadcast with a UDP datagram over IPv4 in it.
func frame(from, to uint16, dst netip.Addr, payload []byte) []byte {
	b := make([]byte, 42, 42+len(payload))
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x66, 8, 0})
	ip := b[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], []byte{192, 0, 2, 66})
	copy(ip[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	binary.BigEndian.PutUint16(b[34:], from)
	binary.BigEndian.PutUint16(b[36:], to)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...) // no UDP checksum: RFC 768 allows it over IPv4
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
