package boottest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"latchkey/boot"
	"latchkey/boot/device"
	"latchkey/unlock/md"
	"latchkey/unlock/md/control"
	"latchkey/unlock/md/mdtest"
)

// Mirror is the disk as member n of a mirror of two, and a disk of its own: it
// holds what the disk does, and a superblock.
func (d *Disk) Mirror(name string, m mdtest.Member) *Disk {
	m.Level, m.Data = 1, d.Bytes
	m.Places = max(m.Places, 2)
	return &Disk{Name: name, Serial: "serial-" + name, Bytes: m.Device()}
}

// Join implements worker.Disks.
func (w workerProcess) Join(path string) error {
	w.machine.note("join %s", path)
	return w.alive()
}

// RunArray implements worker.Disks. A mirror holds what its first member does,
// and any other array what Arrays says.
func (w workerProcess) RunArray(start control.Start, name string) error {
	m := w.machine
	if err := w.alive(); err != nil {
		return err
	}
	if m.NoArrays != nil {
		m.note("array of %d members refused", len(start.Members))
		return m.NoArrays
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	array := &Disk{}
	for number := 127; array.Name == ""; number-- {
		array.Name = fmt.Sprintf("md%d", number)
		for _, d := range m.Disks {
			if d.Name == array.Name {
				array.Name = ""
			}
		}
	}
	names, on := "", []string{}
	for _, number := range start.Members {
		name, device, inside := m.device(number)
		member, err := md.Read(bytes.NewReader(device), name, int64(len(device)))
		if err != nil || m.members[name] != "" {
			return errors.New("invalid argument")
		}
		if array.Bytes == nil {
			array.Bytes = bytes.Clone(m.Arrays[member.UUID])
		}
		if array.Bytes == nil {
			offset := int64(mdtest.DataOffset)
			if start.Version == "0.90" || start.Version == "1.0" {
				offset = 0
			}
			array.Bytes = bytes.Clone(device[offset:member.Bytes])
		}
		m.members[name] = array.Name
		names += " " + name
		if inside {
			on = append(on, name)
		}
	}
	if len(on) > 0 { // what is inside volumes, PID 1 judges
		m.mappings["/dev/"+array.Name] = boot.Mapping{Device: fmt.Sprint("254:", len(m.Disks)), On: on}
	}
	m.Disks = append(m.Disks, array)
	m.log = append(m.log, fmt.Sprintf("run %s %q %s%s", array.Name, name, start.Version, names))
	for _, e := range m.events {
		e <- device.Event{Action: "change", Subsystem: "block"}
	}
	return nil
}

// device is a disk or what is in a mapping, and its name.
func (m *Machine) device(number control.Device) (name string, holds []byte, inside bool) {
	if number.Major == 254 {
		d := m.Disks[number.Minor]
		return d.Name, d.Bytes, m.mappings["/dev/"+d.Name].On != nil
	}
	for name, mapping := range m.mappings {
		if mapping.Device == fmt.Sprint("253:", number.Minor) {
			return name, m.inside(name), true
		}
	}
	return "", nil, false
}

// stop ends an array inside of volumes.
func (m *Machine) stop(array string) {
	m.Disks = slices.DeleteFunc(m.Disks, func(d *Disk) bool { return "/dev/"+d.Name == array })
	maps.DeleteFunc(m.members, func(_, of string) bool { return "/dev/"+of == array })
}
