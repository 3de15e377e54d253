package netup

import (
	"errors"
	"io/fs"
	"slices"

	"latchkey/internal/plan"
)

// layers makes the bonds, bridges and VLANs of the plan as soon as the
// links below them are there, and tells whether it changed anything. It is
// called with each sync and does what is missing, so a port that is
// plugged in later joins later.
func (n *network) layers(devices []Device) (changed bool) {
	for _, b := range n.settings.Bonds {
		if n.make(devices, b.Name, AddBond{b}, &changed) {
			n.join(devices, b.Name, b.Ports, true, &changed)
		}
	}

	for _, b := range n.settings.Bridges {
		if n.make(devices, b.Name, AddBridge{b.Name}, &changed) {
			n.join(devices, b.Name, b.Ports, false, &changed)
		}
	}

	for _, v := range n.settings.VLANs {
		if on := n.find(devices, v.On); on != nil {
			n.make(devices, v.Name, AddVLAN{v, on.Index}, &changed)
		}
	}

	return changed
}

// made tells whether the plan makes a link of this name.
func (n *network) made(name string) bool {
	return slices.ContainsFunc(n.settings.Bonds, func(b plan.Bond) bool { return b.Name == name }) ||
		slices.ContainsFunc(n.settings.Bridges, func(b plan.Bridge) bool { return b.Name == name }) ||
		slices.ContainsFunc(n.settings.VLANs, func(v plan.VLAN) bool { return v.Name == name })
}

// make makes a link unless we have, and tells whether it exists. A bond of
// that name that is not ours comes from the bonding module, which makes
// bond0 when it is loaded (max_bonds), without our options: it is replaced.
func (n *network) make(devices []Device, name string, op Op, changed *bool) bool {
	there := find(devices, name)
	if there != nil {
		_, ours := parseNote(there.Alias)
		if _, bond := op.(AddBond); !bond || ours || there.Kind != "bond" {
			delete(n.retries, name)
			return true
		}
	}

	if !n.due(name) {
		return false
	}
	*changed = true
	if there != nil {
		n.do(&link{dev: *there}, DelLink{there.Index})
	}

	err := n.create(name, op)
	if refused, ok := errors.AsType[*OptionsError](err); ok {
		n.log.Warn("the bond does without options that its driver refuses", "link", name, "refused", refused.Error())
		err = nil
	}
	if err != nil {
		n.warn(name, "cannot create the link; trying again", err)
		return false
	}

	// The note goes on at once: a link without one is not ours.
	if now, err := n.k.Devices(); err == nil {
		if d := find(now, name); d != nil {
			n.note(&link{dev: *d})
		}
	}

	return false // the kernel's event wakes us when it is there
}

// create makes a link. The bonding module may make its bond0 just before us:
// that one has none of our options, and ours takes its place.
func (n *network) create(name string, op Op) error {
	err := n.k.Do(op)
	if _, bond := op.(AddBond); !bond || !errors.Is(err, fs.ErrExist) {
		return err
	}
	now, lookErr := n.k.Devices()
	if d := find(now, name); lookErr != nil || d == nil || d.Kind != "bond" {
		return err
	} else if err := n.k.Do(DelLink{d.Index}); err != nil {
		return err
	}
	return n.k.Do(op)
}

// join puts ports under a bond or bridge. A bond takes only links that
// are down (bond_enslave in drivers/net/bonding/bond_main.c).
func (n *network) join(devices []Device, name string, ports []string, down bool, changed *bool) {
	master := find(devices, name)
	for _, port := range ports {
		d := n.find(devices, port)
		if d == nil {
			continue
		}
		if d.Master == master.Index {
			delete(n.retries, name+" "+port)
			continue
		}
		if n.taken(devices, *d, name) || !n.due(name+" "+port) {
			continue
		}

		*changed = true
		l := &link{dev: *d}
		n.prepare(l)
		if down && d.Up {
			n.do(l, SetDown{d.Index})
		}
		if err := n.k.Do(SetMaster{d.Index, master.Index}); err != nil {
			n.warn(d.Name, "cannot make the link a port of "+name+"; trying again", err)
		} else {
			d.Master = master.Index
		}

		n.do(l, SetUp{d.Index})
		n.prefer(*d, name)
	}
}

// taken tells whether another bond or bridge of the plan has the port: the
// options may call one link by two names. The first keeps it, or it would go
// to and fro.
func (n *network) taken(devices []Device, port Device, by string) bool {
	for _, d := range devices {
		if d.Index == port.Master && n.made(d.Name) {
			n.once("taken "+port.Name+by, func() {
				n.log.Warn("the link is a port of another already; it stays there", "link", port.Name, "of", d.Name, "wanted_by", by)
			})
			return true
		}
	}
	return false
}

// prefer tells a bond which port primary= means, where the plan has a name
// that udev would give it: the bonding driver knows only the kernel's.
func (n *network) prefer(d Device, bond string) {
	for _, b := range n.settings.Bonds {
		for _, o := range b.Options {
			if b.Name == bond && o.Name == "primary" && o.Value != d.Name && called(d, o.Value) {
				n.do(&link{dev: d}, SetBondOption{bond, plan.BondOption{Name: o.Name, Value: d.Name}})
			}
		}
	}
}

// find returns the device that a name of the plan means.
func (n *network) find(devices []Device, name string) *Device {
	if d := find(devices, name); d != nil {
		return d
	}
	for i, d := range devices {
		if called(d, name) {
			return &devices[i]
		}
	}
	return nil
}

func find(devices []Device, name string) *Device {
	if i := slices.IndexFunc(devices, func(d Device) bool { return d.Name == name }); i >= 0 {
		return &devices[i]
	}
	return nil
}

// isPort tells whether the plan puts the device under a bond or bridge;
// such a link gets no addresses of its own.
func (n *network) isPort(d Device) bool {
	for _, b := range n.settings.Bonds {
		if slices.ContainsFunc(b.Ports, func(p string) bool { return called(d, p) }) {
			return true
		}
	}
	for _, b := range n.settings.Bridges {
		if slices.ContainsFunc(b.Ports, func(p string) bool { return called(d, p) }) {
			return true
		}
	}
	return false
}
