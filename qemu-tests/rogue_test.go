package qemutests

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// forged is how many key servers the rogue pretends to be.
const forged = 50

// rogue start: somebody on the LAN who answers every mDNS question at once
// with 50 key servers, and says that kms.local is his: half of them are a
// real KMS with another key, half take a connection and never answer.
func cmdRogue(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || args[0] != "start" {
		ts.Fatalf("usage: rogue start")
	}

	host, err := w.lan.plugIn()
	ts.Check(err)
	ts.Defer(host.close)
	data := filepath.Join(w.dir, "rogue")
	w.initKMS(ts, data)
	w.start(ts, "rogue", "listening on", host.command(filepath.Join(w.shared.bin, "latchkey-kms"), "serve", "--data", data, "--listen", "0.0.0.0:7742"))
	silent, err := host.listen("0.0.0.0:7743")
	ts.Check(err)
	go hang(silent)
	ts.Defer(func() { silent.Close() })
	conn, err := host.mdns()
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	go lie(conn)
}

// plugIn is the rogue's own machine on the LAN, with many addresses.
func (l *lan) plugIn() (*lan, error) {
	host := &lan{ns: l.ns + "r"}
	if out, err := exec.Command("ip", "netns", "add", host.ns).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a network namespace: %w: %s", err, out)
	}
	err := errors.Join(l.ip("link add rogue type veth peer name eth0 netns "+host.ns), l.ip("link set rogue master br0 up"),
		host.ip("link set eth0 up"))
	for i := range forged {
		err = errors.Join(err, host.ip(fmt.Sprintf("addr add %s/24 dev eth0", rogueAddr(i))))
	}
	return host, err
}

// rogueAddr are addresses of the LAN that DHCP does not give.
func rogueAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(200 + i)}) }

func roguePort(i int) uint16 { return 7742 + uint16(i%2) }

// hang takes connections and says nothing.
func hang(ln net.Listener) {
	var all []net.Conn // one that nobody holds would be closed
	for {
		c, err := ln.Accept()
		if err != nil {
			break
		}
		all = append(all, c)
	}
	for _, c := range all {
		c.Close()
	}
}

var mdnsGroup = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

func (l *lan) mdns() (conn *net.UDPConn, err error) {
	err = l.inside(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if conn, err = net.ListenMulticastUDP("udp4", link, mdnsGroup); err != nil {
			return err
		}
		p := ipv4.NewPacketConn(conn)
		p.SetMulticastTTL(255) // RFC 6762, section 11
		return p.SetMulticastInterface(link)
	})
	return conn, err
}

// lie answers every question of others.
func lie(conn *net.UDPConn) {
	in := make([]byte, 9000)
	for {
		n, _, err := conn.ReadFromUDP(in)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(in[:n]) != nil || m.Response || len(m.Questions) == 0 {
			continue
		}
		for _, packet := range lies() {
			conn.WriteToUDP(packet, mdnsGroup)
		}
	}
}

// lies are all forged records, ten servers in a packet.
func lies() (packets [][]byte) {
	for first := 0; first < forged; first += 10 {
		m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
		for i := first; i < first+10; i++ {
			m.Answers = append(m.Answers, forgery(i)...)
		}
		packet, err := m.Pack()
		if err != nil {
			panic(err) // all of it is ours
		}
		packets = append(packets, packet)
	}
	return packets
}

// forgery is one key server: what its service's type points to, where it
// is, and, for good measure, that kms.local is there.
func forgery(i int) []dnsmessage.Resource {
	service := dnsmessage.MustNewName("_latchkey._tcp.local.")
	instance := dnsmessage.MustNewName(fmt.Sprintf("rogue%d._latchkey._tcp.local.", i))
	host := dnsmessage.MustNewName(fmt.Sprintf("rogue%d.local.", i))
	head := func(name dnsmessage.Name, class dnsmessage.Class) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: class, TTL: 120}
	}

	const own = dnsmessage.ClassINET | 1<<15 // with the cache-flush bit: RFC 6762, section 10.2
	a := &dnsmessage.AResource{A: rogueAddr(i).As4()}
	return []dnsmessage.Resource{
		{Header: head(service, dnsmessage.ClassINET), Body: &dnsmessage.PTRResource{PTR: instance}},
		{Header: head(instance, own), Body: &dnsmessage.SRVResource{Port: roguePort(i), Target: host}},
		{Header: head(instance, own), Body: &dnsmessage.TXTResource{TXT: []string{"v=1"}}},
		{Header: head(host, own), Body: a},
		{Header: head(dnsmessage.MustNewName("kms.local."), own), Body: a},
	}
}
