package boottest

import (
	"errors"
	"fmt"

	"latchkey/boot"
	"latchkey/internal/mapping"
	"latchkey/unlock/dm"
)

// PathTo is another way to the disk: one with the same bytes, and an identity.
func (d *Disk) PathTo(name, wwid string) *Disk {
	d.WWID = wwid
	return &Disk{Name: name, Serial: d.Serial, WWID: wwid, Bytes: d.Bytes, Partition: d.Partition, From: d.From}
}

// MapPaths implements worker.Disks. What is read there is what the first path
// has.
func (w workerProcess) MapPaths(p dm.Paths) error {
	m := w.machine
	if err := w.alive(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("map paths %+v", p))
	switch {
	case m.NoPaths != nil:
		return m.NoPaths
	case p.ALUA && m.NoALUA:
		return errors.New("invalid argument")
	}
	number := func() string { return fmt.Sprint("253:", 100+len(m.mappings)) }
	whole := boot.Mapping{UUID: mapping.MultipathUUID(p.WWID, 0), Device: number()}
	for _, n := range p.On {
		whole.On = append(whole.On, m.Disks[n.Minor].Name)
	}
	if _, ok := m.mappings[p.Name]; !ok {
		m.mappings[p.Name] = whole
	}
	m.disksOf[p.Name] = m.Disks[p.On[0].Minor]
	if n := p.Part.Number; n > 0 {
		name := mapping.PartName(p.Name, n)
		m.mappings[name] = boot.Mapping{UUID: mapping.MultipathUUID(p.WWID, n), Device: number(), On: []string{p.Name}}
		for _, d := range m.Disks {
			if d.Part == m.disksOf[p.Name].Name && d.Partition == n {
				m.disksOf[name] = d
			}
		}
	}
	return nil
}
