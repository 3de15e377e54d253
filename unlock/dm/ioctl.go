package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const controlPath = "/dev/mapper/control"

// primarySource is DM_UDEV_PRIMARY_SOURCE_FLAG (libdevmapper.h) in the
// upper half of event_nr, where the kernel returns it in DM_COOKIE: udev's
// 10-dm.rules then take the uevent for a true one and mark the mapping
// ready.
const primarySource = 0x0040 << 16

// request is one ioctl of linux/dm-ioctl.h.
type request struct {
	name, uuid string
	flags      uint32
	event      uint32

	table   string // one crypt target that begins at sector 0
	sectors uint64
}

// encode lays out struct dm_ioctl and, for a table, one struct
// dm_target_spec, its text and the zero behind it, padded to 8 bytes.
func (r request) encode(room int) []byte {
	size := unix.SizeofDmIoctl + room
	spec := 0
	if r.table != "" {
		spec = (unix.SizeofDmTargetSpec + len(r.table) + 1 + 7) &^ 7
		size += spec
	}

	// Backed by words, so that the kernel's struct is aligned.
	words := make([]uint64, (size+7)/8)
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	h := (*unix.DmIoctl)(unsafe.Pointer(&words[0]))
	h.Version = [3]uint32{4, 0, 0} // any kernel since 2.6
	h.Data_size = uint32(len(buf))
	h.Data_start = unix.SizeofDmIoctl
	h.Flags = r.flags
	h.Event_nr = r.event
	copy(h.Name[:len(h.Name)-1], r.name)
	copy(h.Uuid[:len(h.Uuid)-1], r.uuid)

	if r.table != "" {
		h.Target_count = 1
		t := (*unix.DmTargetSpec)(unsafe.Pointer(&words[unix.SizeofDmIoctl/8]))
		t.Length = r.sectors
		t.Next = uint32(spec)
		copy(t.Target_type[:], "crypt")
		copy(buf[unix.SizeofDmIoctl+unix.SizeofDmTargetSpec:], r.table)
	}

	return buf
}

// control sends one request and returns the kernel's header.
func control(command uint, r request) (unix.DmIoctl, error) {
	buf, err := exchange(command, r, 0)
	if err != nil {
		return unix.DmIoctl{}, err
	}
	return *(*unix.DmIoctl)(unsafe.Pointer(&buf[0])), nil
}

func exchange(command uint, r request, room int) ([]byte, error) {
	fd, err := unix.Open(controlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", controlPath, err)
	}
	defer unix.Close(fd)
	buf := r.encode(room)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(command), uintptr(unsafe.Pointer(&buf[0])))
	switch {
	case errno == unix.ENXIO && (command == unix.DM_DEV_STATUS || command == unix.DM_DEV_REMOVE):
		// The kernel's word for an unknown name (find_device in dm-ioctl.c).
		return nil, ErrNotFound
	case errno != 0:
		return nil, fmt.Errorf("device-mapper ioctl %#x: %w", command, errno)
	}

	return buf, nil
}

// List returns the names of all mappings.
func List() ([]string, error) {
	for room := 16 << 10; room <= 1<<20; room *= 8 {
		buf, err := exchange(unix.DM_LIST_DEVICES, request{}, room)
		if err != nil {
			return nil, fmt.Errorf("listing mappings: %w", err)
		}
		if h := (*unix.DmIoctl)(unsafe.Pointer(&buf[0])); h.Flags&unix.DM_BUFFER_FULL_FLAG == 0 {
			return parseNames(buf[unix.SizeofDmIoctl:])
		}
	}
	return nil, errors.New("listing mappings: there are too many")
}

// parseNames reads a chain of struct dm_name_list: device number (8), next
// (4), name. The first has number 0 when there is no mapping.
func parseNames(b []byte) (names []string, err error) {
	for {
		if len(b) < 12 {
			return nil, errors.New("listing mappings: the kernel's list is cut off")
		}
		if binary.NativeEndian.Uint64(b) == 0 {
			return names, nil
		}

		next := int64(binary.NativeEndian.Uint32(b[8:]))
		name, _, found := bytes.Cut(b[12:], []byte{0})
		if !found || next != 0 && (next < 12 || next > int64(len(b))) {
			return nil, errors.New("listing mappings: the kernel's list is malformed")
		}

		names = append(names, string(name))
		if next == 0 {
			return names, nil
		}

		b = b[next:]
	}
}
