package boottest

import (
	"bytes"
	"errors"
	"fmt"

	"latchkey/boot/device"
	"latchkey/unlock/bcache"
)

// Behind is the disk behind a cache, as a disk of its own: device makes what
// holds the disk's bytes.
func (d *Disk) Behind(name string, device func(data []byte) []byte) *Disk {
	return &Disk{Name: name, Serial: "serial-" + name, Bytes: device(d.Bytes)}
}

// RunCached implements worker.Disks: what is behind a cache is there once the
// kernel has both.
func (w workerProcess) RunCached(path string) error {
	m := w.machine
	if err := w.alive(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, "give bcache "+path)
	if m.NoCaches != nil {
		return m.NoCaches
	}
	var devices []*bcache.Device
	for _, d := range m.Disks {
		b, err := bcache.Read(bytes.NewReader(d.Bytes), "/dev/"+d.Name, int64(len(d.Bytes)))
		if "/dev/"+d.Name == path && (err != nil || d.Cached) {
			return errors.New("invalid argument")
		}
		d.Cached = d.Cached || "/dev/"+d.Name == path
		if err == nil && d.Cached {
			devices = append(devices, b)
		}
	}
	for _, d := range m.Disks[:len(m.Disks):len(m.Disks)] {
		for _, b := range devices {
			if "/dev/"+d.Name == b.Path && !b.Cache && !d.runs && (!b.Attached || len(b.Caches(devices)) > 0) {
				d.runs = true
				m.Disks = append(m.Disks, &Disk{Name: fmt.Sprint("bcache", len(m.Disks)), Bytes: d.Bytes[b.DataBytes:]})
			}
		}
	}
	for _, e := range m.events {
		e <- device.Event{Action: "add", Subsystem: "block"}
	}
	return nil
}
