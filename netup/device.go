package netup

import (
	"net"
	"slices"
	"sync"

	"latchkey/internal/plan"
)

// A knownPlace is a Place and the name under which it was looked for.
type knownPlace struct {
	name string
	Place
}

// devices lists the devices with their places. Sysfs is asked once for each,
// and again after it was renamed.
func (n *network) devices() ([]Device, error) {
	devices, err := n.k.Devices()
	if err != nil {
		return nil, err
	}

	there := make(map[int]bool, len(devices))
	n.conduits = map[int]bool{}
	for i := range devices {
		d := &devices[i]
		there[d.Index] = true
		if d.Kind == "dsa" {
			n.conduits[d.Lower] = true
		}
		known, ok := n.places[d.Index]
		if !ok || known.name != d.Name {
			known = knownPlace{d.Name, n.k.Place(*d)}
			n.places[d.Index] = known
		}
		d.Place = known.Place
	}

	for index := range n.places {
		if !there[index] {
			delete(n.places, index)
		}
	}
	return devices, nil
}

// ours tells whether netup sets the device up: hardware and what the plan
// makes, unless it is off; what carries a VLAN or the ports of a switch is
// up even then.
func (n *network) ours(d *Device) bool {
	if !d.Ether || d.Master != 0 {
		return false
	}
	if d.Place.Radio {
		n.once("radio "+d.Name, func() {
			n.log.Warn("wireless link is left alone: latchkey has no Wi-Fi and no cellular modems", "link", d.Name)
		})
		return false
	}
	if !n.made(d.Name) && (!isHardware(*d) || n.isPort(*d)) {
		return false
	}
	return !n.off(*d) || n.carries(*d) || n.conduits[d.Index]
}

// isHardware tells whether the device is a network card, or a veth, which is
// one in a container. The kind does not tell: IP over InfiniBand and the
// ports of switches (DSA) have one, but they stand on a bus, and what is made
// of other links does not.
func isHardware(d Device) bool { return d.Kind == "" || d.Kind == "veth" || d.Place.Bus }

// carries tells whether the plan puts a VLAN on the device.
func (n *network) carries(d Device) bool {
	return slices.ContainsFunc(n.settings.VLANs, func(v plan.VLAN) bool { return called(d, v.On) })
}

// off tells whether the plan wants the device left alone, in every line that
// speaks of it.
func (n *network) off(d Device) bool {
	methods := n.methods(d)
	return len(methods) > 0 && !slices.ContainsFunc(methods, func(m plan.Method) bool { return m != plan.Off })
}

// ownMACs are the hardware addresses of this machine. With two cables in one
// LAN, or a bridge that leads back, it hears itself: that is no other machine.
type ownMACs struct {
	mu   sync.Mutex
	macs map[string]bool
}

func (o *ownMACs) set(devices []Device) {
	macs := map[string]bool{}
	for _, d := range devices {
		if d.Ether { // loopback has an address of zeros
			macs[string(d.MAC)] = true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.macs = macs
}

func (o *ownMACs) has(mac net.HardwareAddr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.macs[string(mac)]
}
