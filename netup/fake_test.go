package netup_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/internal/testlan"
	"latchkey/netup"
)

// A fakeKernel is a kernel whose links are a value, and whose cables are
// LANs in memory.
type fakeKernel struct {
	mu      sync.Mutex
	devices map[int]netup.Device
	lans    map[int]*testlan.LAN
	ops     []string // what it was told to do, as text
	looks   int      // calls of Devices
	placed  []string // devices for which Place was called
	wake    chan struct{}
	after   func()               // called when Run has ended
	fail    func(netup.Op) error // nil never fails
}

func newKernel(devices ...netup.Device) *fakeKernel {
	k := &fakeKernel{devices: map[int]netup.Device{}, lans: map[int]*testlan.LAN{}, wake: make(chan struct{}, 1)}
	for _, d := range devices {
		k.plug(d)
	}
	return k
}

// eth is hardware with index n, called eth<n-1>, with a cable.
func eth(n int) netup.Device {
	return netup.Device{Index: n, Name: fmt.Sprintf("eth%d", n-1), MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)}, MTU: 1500, Ether: true}
}

// hwLAN is a LAN that delivers by hardware address.
func hwLAN() *testlan.LAN {
	return &testlan.LAN{
		Hears: func(member, to net.Addr) bool {
			return member.String() == to.String() || to.String() == "ff:ff:ff:ff:ff:ff"
		},
		Delay: func() time.Duration { return time.Millisecond },
	}
}

func (k *fakeKernel) plug(d netup.Device) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[d.Index], k.lans[d.Index] = d, hwLAN()
	k.poke()
}

func (k *fakeKernel) unplug(index int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.devices, index)
	k.lans[index].Close()
	k.poke()
}

// carrier sets whether frames pass on a link that is up.
func (k *fakeKernel) carrier(index int, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.devices[index]
	d.Carrier = on
	k.devices[index] = d
	k.poke()
}

func (k *fakeKernel) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *fakeKernel) Watch(context.Context) (<-chan struct{}, error) { return k.wake, nil }

func (k *fakeKernel) Devices() ([]netup.Device, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	var out []netup.Device
	for _, d := range k.devices {
		d.Addrs = slices.Clone(d.Addrs)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b netup.Device) int { return a.Index - b.Index })
	return out, nil
}

func (k *fakeKernel) Do(op netup.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ops = append(k.ops, opName(op)+fmt.Sprintf("%+v", op))
	if k.fail != nil {
		if err := k.fail(op); err != nil {
			return err
		}
	}
	defer k.poke()

	switch o := op.(type) {
	case netup.AddVLAN:
		return k.add(o.Name, "vlan")
	case netup.AddBond:
		return k.add(o.Name, "bond")
	case netup.AddBridge:
		return k.add(o.Name, "bridge")
	case netup.DelLink:
		delete(k.devices, o.Index)
		return nil
	}

	return k.change(op)
}

// opName is the type of an operation: "SetUp".
func opName(op netup.Op) string { return strings.TrimPrefix(fmt.Sprintf("%T", op), "netup.") }

func (k *fakeKernel) add(name, kind string) error {
	n := 100 + len(k.devices)
	k.devices[n] = netup.Device{Index: n, Name: name, Kind: kind, MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(n)}, MTU: 1500, Ether: true}
	k.lans[n] = hwLAN()
	return nil
}

func (k *fakeKernel) change(op netup.Op) error {
	edit := func(index int, change func(*netup.Device)) error {
		d, ok := k.devices[index]
		if !ok {
			return errors.New("no such device")
		}
		change(&d)
		k.devices[index] = d
		return nil
	}
	switch o := op.(type) {
	case netup.SetUp:
		return edit(o.Index, func(d *netup.Device) { d.Up, d.Carrier = true, true })
	case netup.SetDown:
		return edit(o.Index, func(d *netup.Device) { d.Up, d.Carrier = false, false })
	case netup.SetName:
		return edit(o.Index, func(d *netup.Device) { d.Name = o.Name })

	case netup.SetAlias:
		return edit(o.Index, func(d *netup.Device) { d.Alias = o.Alias })
	case netup.SetMTU:
		return edit(o.Index, func(d *netup.Device) { d.MTU = o.MTU })
	case netup.SetMAC:
		return edit(o.Index, func(d *netup.Device) { d.MAC = o.MAC })

	case netup.SetMaster:
		return edit(o.Index, func(d *netup.Device) { d.Master = o.Master })
	case netup.AddAddr:
		return edit(o.Index, func(d *netup.Device) {
			if !slices.ContainsFunc(d.Addrs, func(a netup.Addr) bool { return a.Prefix == o.Prefix }) {
				d.Addrs = append(slices.Clone(d.Addrs), netup.Addr{Prefix: o.Prefix})
			}
		})

	case netup.DelAddr:
		return edit(o.Index, func(d *netup.Device) {
			d.Addrs = slices.DeleteFunc(slices.Clone(d.Addrs), func(a netup.Addr) bool { return a.Prefix == o.Prefix })
		})
	}
	return nil
}

func (k *fakeKernel) Open(index int, p netup.Protocol) (net.PacketConn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.devices[index]
	if !ok || !d.Up {
		return nil, errors.New("network is down")
	}

	switch p {
	case netup.DHCP4:
		return k.lans[index].Join(netup.HWAddr(d.MAC)), nil
	case netup.Renew4:
		return &renewConn{PacketConn: k.lans[index].Join(netup.HWAddr(d.MAC))}, nil
	case netup.ARP:
		return k.side(index, p).Join(netup.HWAddr(d.MAC)), nil
	case netup.NDP:
		return k.side(index, p).Join(&net.IPAddr{IP: net.ParseIP("fe80::1")}), nil
	case netup.DHCP6:
		return k.side(index, p).Join(&net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 546}), nil
	}

	return nil, fmt.Errorf("no such protocol on this LAN: %w", errors.ErrUnsupported)
}

// A renewConn is a socket whose kernel finds the way: the last byte of a
// server's address is also that of its hardware.
type renewConn struct{ net.PacketConn }

func (c *renewConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ip := to.(*net.UDPAddr).IP.To4()
	server := netup.HWAddr(net.HardwareAddr{2, 0, 0, 0, 9, ip[3]})
	return c.PacketConn.WriteTo(udp(testServer, b), server)
}

// Place is what the device came with.
func (k *fakeKernel) Place(d netup.Device) netup.Place {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.placed = append(k.placed, d.Name)
	return d.Place
}

// side is the LAN of a link's packets of another protocol than DHCP4,
// which everybody on it hears.
func (k *fakeKernel) side(index int, p netup.Protocol) *testlan.LAN {
	key := -1000*int(p) - index
	if k.lans[key] == nil {
		k.lans[key] = &testlan.LAN{Hears: func(_, _ net.Addr) bool { return true }, Delay: func() time.Duration { return time.Millisecond }}
	}
	return k.lans[key]
}

// told returns the operations that begin with one of the words.
func (k *fakeKernel) told(words ...string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for _, op := range k.ops {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(op, w) }) {
			out = append(out, op)
		}
	}
	return out
}
