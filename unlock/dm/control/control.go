// Package control speaks to /dev/mapper/control (linux/dm-ioctl.h). It
// knows nothing of headers and keys, so that PID 1 can remove mappings
// without linking what reads them.
package control

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"latchkey/internal/mapping"
)

const controlPath = "/dev/mapper/control"

// NodeDir is where the nodes of mappings are.
const NodeDir = "/dev/mapper/"

// ErrNotFound means that no mapping has the name.
var ErrNotFound = errors.New("no such mapping")

// PrimarySource is DM_UDEV_PRIMARY_SOURCE_FLAG (libdevmapper.h) in the
// upper half of event_nr, where the kernel returns it in DM_COOKIE: udev's
// 10-dm.rules then take the uevent for a true one and mark the mapping
// ready.
const PrimarySource = 0x0040 << 16

// A Request is one ioctl of linux/dm-ioctl.h.
type Request struct {
	Name, UUID string
	Flags      uint32
	Event      uint32

	Table []Target
}

// A Target is one row of a table, in sectors of 512 bytes.
type Target struct {
	Start, Sectors uint64
	Type, Params   string
}

// bytes are how many a target takes: struct dm_target_spec, its text and the
// zero behind it, padded to 8 bytes.
func (t Target) bytes() int { return (unix.SizeofDmTargetSpec + len(t.Params) + 1 + 7) &^ 7 }

// Encode lays out struct dm_ioctl and behind it the targets of a table.
func (r Request) Encode() []byte {
	size := unix.SizeofDmIoctl
	for _, t := range r.Table {
		size += t.bytes()
	}

	// Backed by words, so that the kernel's struct is aligned.
	words := make([]uint64, (size+7)/8)
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	h := (*unix.DmIoctl)(unsafe.Pointer(&words[0]))
	h.Version = [3]uint32{4, 0, 0} // any kernel since 2.6
	h.Data_size = uint32(len(buf))
	h.Data_start = unix.SizeofDmIoctl
	h.Flags = r.Flags
	h.Event_nr = r.Event
	copy(h.Name[:len(h.Name)-1], r.Name)
	copy(h.Uuid[:len(h.Uuid)-1], r.UUID)

	h.Target_count = uint32(len(r.Table))
	at := unix.SizeofDmIoctl
	for _, t := range r.Table {
		spec := (*unix.DmTargetSpec)(unsafe.Pointer(&words[at/8]))
		spec.Sector_start, spec.Length = t.Start, t.Sectors
		spec.Next = uint32(t.bytes()) // from this one, not from the first
		copy(spec.Target_type[:len(spec.Target_type)-1], t.Type)
		copy(buf[at+unix.SizeofDmTargetSpec:], t.Params)
		at += t.bytes()
	}

	return buf
}

// Send sends one request and returns the kernel's header.
func Send(command uint, r Request) (unix.DmIoctl, error) {
	fd, err := unix.Open(controlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return unix.DmIoctl{}, fmt.Errorf("opening %s: %w", controlPath, err)
	}
	defer unix.Close(fd)

	buf := r.Encode()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(command), uintptr(unsafe.Pointer(&buf[0])))
	switch {
	case errno == unix.ENXIO && command == unix.DM_DEV_REMOVE:
		// The kernel's word for an unknown name (find_device in dm-ioctl.c).
		return unix.DmIoctl{}, ErrNotFound
	case errno != 0:
		return unix.DmIoctl{}, fmt.Errorf("device-mapper ioctl %#x: %w", command, errno)
	}

	return *(*unix.DmIoctl)(unsafe.Pointer(&buf[0])), nil
}

// Remove takes the mapping and its node away. It wraps ErrNotFound when
// there is none, and unix.EBUSY when it is in use.
func Remove(name string) error {
	if err := mapping.CheckName(name); err != nil {
		return err
	}
	if _, err := Send(unix.DM_DEV_REMOVE, Request{Name: name, Event: PrimarySource}); err != nil {
		return fmt.Errorf("removing mapping %s: %w", name, err)
	}
	return RemoveNode(name)
}

// RemoveNode removes the node or link of a mapping, if there is one.
func RemoveNode(name string) error {
	if err := unix.Unlink(NodeDir + name); err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing %s%s: %w", NodeDir, name, err)
	}
	return nil
}
