// Package md reads the superblocks of Linux' software RAID, and judges which
// devices form which array and whether it can run. It writes nothing.
//
// The sources are the kernel's: include/uapi/linux/raid/md_p.h for what is
// on the disk, drivers/md/md.c for what is valid.
package md

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What an error of this package means; its text is one line for people.
var (
	// ErrNone means that the device is no member of an array.
	ErrNone = errors.New("no member of an array")
	// ErrDamaged means that the device is a member, and that its superblock
	// breaks a rule.
	ErrDamaged = errors.New("damaged superblock")
	// ErrUnsupported means that mdadm itself is needed.
	ErrUnsupported = errors.New("not supported")
	// ErrConflict means that members contradict each other.
	ErrConflict = errors.New("members contradict each other")
)

// A failure is a line for people that errors.Is knows the kind of.
type failure struct {
	kind error
	line string
}

func (f *failure) Error() string { return f.line }
func (f *failure) Unwrap() error { return f.kind }

func fail(kind error, format string, args ...any) error {
	return &failure{kind, fmt.Sprintf(format, args...)}
}

// A Member is a device that belongs to an array, as its superblock has it.
type Member struct {
	Device  string // what the caller calls it
	Version string // "0.90", "1.0", "1.1", "1.2"; or "imsm", "ddf"
	UUID    string // of the array, as mdadm prints it; "" of firmware RAID
	Name    string // of the array, perhaps with the host's before a colon
	Minor   int    // the number that the array had, -1 if that is not kept
	Level   int
	Layout  uint32
	Places  int    // of an array that is whole: raid_disks
	Number  int    // of the device among all that the array has had
	Place   int    // in the array, from 0; or one of the constants below
	InSync  bool   // it holds all that its place should
	Events  uint64 // how often the superblock was written
	Clean   bool   // no write was under way
	At      int64  // byte of the device at which the superblock is
	Bytes   int64  // of the device that the array uses, up to the end of its data

	made   uint64 // when the array was, in seconds
	places []int  // of all devices, by number
	needs  string // why it cannot be run without mdadm, "" if it can
}

// Places of devices that have none: MD_DISK_ROLE_* of md_p.h.
const (
	Spare   = -1
	Faulty  = -2
	Journal = -3
)

// levels are those that can be run, with the modules that run them.
var levels = map[int]string{0: "raid0", 1: "raid1", 4: "raid456", 5: "raid456", 6: "raid456", 10: "raid10"}

// Module is the kernel's module for a level, "" for one that is not run.
func Module(level int) string { return levels[level] }

// levelName is what mdadm calls a level.
func levelName(level int) string {
	switch level {
	case -1:
		return "linear"
	case -4:
		return "multipath"
	case -5:
		return "faulty"
	}
	return fmt.Sprintf("raid%d", level)
}

// uuidText is an array's UUID as mdadm prints it.
func uuidText(words [4]uint32) string {
	return fmt.Sprintf("%08x:%08x:%08x:%08x", words[0], words[1], words[2], words[3])
}

// sum adds up little-endian words, as both checksums of md do.
func sum(b []byte) uint32 {
	var total uint64
	for ; len(b) >= 4; b = b[4:] {
		total += uint64(binary.LittleEndian.Uint32(b))
	}
	if len(b) == 2 {
		total += uint64(binary.LittleEndian.Uint16(b))
	}
	return uint32(total) + uint32(total>>32)
}

// sumWithout is sum with one word taken as zero.
func sumWithout(b []byte, at int) uint32 {
	c := slices.Clone(b)
	clear(c[at : at+4])
	return sum(c)
}

// printable keeps what may stand in a line of a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
