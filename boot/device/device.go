// Package device finds block devices without udev: by /sys/class/block,
// by the kernel's uevents, and by the superblocks on them.
package device

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/unlock/md/control"
)

// A Block is one block device.
type Block struct {
	Name      string // the kernel's: "vda2"
	Path      string // "/dev/vda2"
	Major     uint32
	Minor     uint32
	SizeBytes int64
	FromBytes int64  // where a partition begins on its disk
	Disk      string // the whole disk's name; its own for a whole disk
	Partition int    // number of the partition, 0 for a whole disk
	PartName  string // GPT name (PARTLABEL)
	Serial    string // of the disk, "" if it has none
	WWID      string // of the disk: no other has it; "" if it has none
	ALUA      bool   // the disk's ports have states
	Rank      int    // 0 for the port that the disk likes best
	Array     string // the array of md that runs with it, "" if none does
	Cached    bool   // bcache has it, as a cache or what is behind one
}

// Blocks lists the block devices that have a size, disks before their
// partitions. sys is "/sys" but for tests.
func Blocks(sys string) ([]Block, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "class/block"))
	if err != nil {
		return nil, fmt.Errorf("listing block devices: %w", err)
	}
	var found []Block
	for _, e := range entries {
		// A device may vanish between the listing and the look.
		if b, err := read(filepath.Join(sys, "class/block", e.Name())); err == nil && b.SizeBytes > 0 {
			found = append(found, b)
		}
	}
	return found, nil
}

func read(dir string) (Block, error) {
	b := Block{Name: filepath.Base(dir)}
	uevent, err := os.ReadFile(filepath.Join(dir, "uevent"))
	if err != nil {
		return b, err
	}

	for line := range strings.SplitSeq(string(uevent), "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "MAJOR":
			b.Major = number(value)
		case "MINOR":
			b.Minor = number(value)
		case "DEVNAME":
			b.Path = "/dev/" + value
		case "PARTN":
			b.Partition = int(number(value))
		case "PARTNAME":
			b.PartName = value
		}
	}

	size, err := os.ReadFile(filepath.Join(dir, "size"))
	if err != nil {
		return b, err
	}

	sectors, err := strconv.ParseInt(strings.TrimSpace(string(size)), 10, 52)
	if err != nil {
		return b, err
	}

	b.SizeBytes = sectors * 512 // always 512: block/genhd.c
	b.Array = array(dir)
	_, err = os.Stat(filepath.Join(dir, "bcache"))
	b.Cached = err == nil
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return b, err
	}

	if b.Disk = b.Name; b.Partition > 0 {
		b.FromBytes = startBytes(dir)
		real = filepath.Dir(real)
		b.Disk = filepath.Base(real)
	}
	b.Serial, b.WWID = serial(real), wwid(real)
	b.ALUA, b.Rank = port(real)
	return b, nil
}

// array is the array that a device is in use by: one that is only collected
// does not count.
func array(dir string) string {
	holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
	for _, h := range holders {
		if strings.HasPrefix(h.Name(), "md") && control.Runs(filepath.Join(dir, "../../.."), h.Name()) {
			return h.Name()
		}
	}
	return ""
}

// startBytes is where a partition begins, 0 if the kernel does not say.
func startBytes(dir string) int64 {
	text, _ := os.ReadFile(filepath.Join(dir, "start"))
	sectors, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 52)
	return sectors * 512
}

// serial looks where virtio, NVMe and SCSI disks keep theirs.
func serial(disk string) string {
	for _, file := range []string{"serial", "device/serial", "device/vpd_pg80"} {
		text, err := os.ReadFile(filepath.Join(disk, file))
		if err != nil || len(text) == 0 {
			continue
		}
		if file == "device/vpd_pg80" && len(text) > 4 {
			text = text[4:] // SPC-5, 7.7.14: four bytes of page header
		}
		return strings.TrimSpace(strings.Trim(string(text), "\x00"))
	}
	return ""
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// Modaliases lists what the devices that are there now call themselves.
func Modaliases(sys string) []string {
	var all []string
	seen := map[string]bool{}
	// A bus keeps a flat list of links to its devices: no walk of the tree.
	files, _ := filepath.Glob(filepath.Join(sys, "bus/*/devices/*/modalias"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if alias := strings.TrimSpace(string(text)); err == nil && alias != "" && !seen[alias] {
			seen[alias] = true
			all = append(all, alias)
		}
	}
	return all
}

// An Event is one uevent of the kernel.
type Event struct {
	Action    string // "add", "change", "remove", …
	Subsystem string
	Modalias  string
}

// maxEvent is UEVENT_BUFFER_SIZE of include/linux/kobject.h with room for
// the header, in bytes.
const maxEvent = 8192

// Events opens the kernel's uevent socket: events from now on arrive on
// the channel until ctx ends. A lost event (full buffer) arrives as an
// Event with the action "lost": look at everything again.
func Events(ctx context.Context) (<-chan Event, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("opening the uevent socket: %w", err)
	}

	f := os.NewFile(uintptr(fd), "uevent")
	// Group 1 is the kernel's own; udev's is 2.
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		f.Close()
		return nil, fmt.Errorf("binding the uevent socket: %w", err)
	}

	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) // best effort: "lost" tells if it is too small
	out := make(chan Event, 64)
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(out)
		defer f.Close()
		defer stop()
		buf := make([]byte, maxEvent)
		for ctx.Err() == nil {
			e := Event{Action: "lost"}
			if n, err := f.Read(buf); err == nil {
				e = parseEvent(buf[:n])
			} else if ctx.Err() != nil {
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
			}
		}
	}()

	return out, nil
}

func parseEvent(msg []byte) Event {
	var e Event
	for field := range strings.SplitSeq(string(msg), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "ACTION":
			e.Action = value
		case "SUBSYSTEM":
			e.Subsystem = value
		case "MODALIAS":
			e.Modalias = value
		}
	}
	return e
}
