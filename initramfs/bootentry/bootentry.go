// Package bootentry reads what the boot loaders of a machine offer, and which
// entry they start by themselves: systemd-boot's (UAPI.1, Boot Loader
// Specification) and GRUB's. It reads files and firmware variables, and
// changes nothing.
package bootentry

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf16"

	"latchkey/internal/rootdir"
)

// The boot loaders that are known, as messages call them.
const (
	SystemdBoot = "systemd-boot"
	GRUB        = "GRUB"
)

// ErrNoLoader is that of a machine with neither of them.
var ErrNoLoader = errors.New("neither systemd-boot nor GRUB was found")

// An Entry is one thing that a boot loader can start.
type Entry struct {
	// ID is the file's name without counters, or GRUB's id or title.
	ID string
	// Image is the unified kernel image or the last initramfs, Kernel the
	// kernel beside an initramfs. Both are paths on this machine.
	Image, Kernel string
	Unified       bool
	// Left is how often it is tried yet before the boot loader gives it up, -1
	// if that is not counted: it was blessed, or never had a counter.
	Left int

	done                        int // how often it was tried
	sortKey, machineID, version string
}

// Counted tells whether nobody knows yet that the entry boots.
func (e Entry) Counted() bool { return e.Left >= 0 }

// A Menu is what a boot loader offers, in its order.
type Menu struct {
	Loader  string
	Entries []Entry
	Default int // the entry that is started, -1 if that is not known
	Why     string
}

// Read finds the boot loader of the system below a root directory. esp are
// where an EFI system partition or a boot partition may be mounted. An error
// that is none of ErrNoLoader's says what could not be read.
func Read(root string, esp []string) (*Menu, error) {
	m, err := readSystemdBoot(root, esp)
	if m != nil || err != nil {
		return m, err
	}
	return readGRUB(root)
}

// guid is that of the Boot Loader Interface's variables
// (systemd.io/BOOT_LOADER_INTERFACE).
const guid = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// variable is a text of the firmware's, "" if there is none.
func variable(root, name string) string {
	data, err := os.ReadFile(rootdir.Path(root, "/sys/firmware/efi/efivars/"+name+"-"+guid))
	if err != nil || len(data) < 4 || len(data) > 4096 {
		return ""
	}
	data = data[4:] // its attributes: Documentation/filesystems/efivarfs.rst
	var text []uint16
	for ; len(data) >= 2; data = data[2:] {
		if c := binary.LittleEndian.Uint16(data); c != 0 {
			text = append(text, c)
		}
	}
	return string(utf16.Decode(text))
}

// counters takes the boot counting out of a file's name: NAME+LEFT-DONE.EXT or
// NAME+LEFT.EXT (UAPI.1, "Boot counting").
func counters(name string) (id string, left, done int) {
	ext := filepath.Ext(name)
	base, count, counted := cutLast(strings.TrimSuffix(name, ext), "+")
	if !counted {
		return name, -1, 0
	}
	first, second, both := strings.Cut(count, "-")
	left, err := strconv.Atoi(first)
	if err == nil && both {
		done, err = strconv.Atoi(second)
	}
	if err != nil || left < 0 || done < 0 {
		return name, -1, 0
	}
	return base + ext, left, done
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Find is the file of an image that may have counters in its name: the image
// itself if it is there, as one that was blessed is. It is "" if there is none.
func Find(path string) string {
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if counted := Counted(path); len(counted) > 0 {
		return counted[0]
	}
	return ""
}

// Counted are the files of an image that have counters in their names.
func Counted(path string) (files []string) {
	ext := filepath.Ext(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if id, left, _ := counters(e.Name()); left >= 0 && id == filepath.Base(path) && filepath.Ext(e.Name()) == ext {
			files = append(files, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return files
}

// Tries is how often a new entry is to be tried before it is given up, 0 for
// no counting: /etc/kernel/tries of kernel-install(8).
func Tries(root string) int {
	for _, dir := range []string{"/etc/kernel", "/run/kernel", "/usr/local/lib/kernel", "/usr/lib/kernel"} {
		text, err := os.ReadFile(rootdir.Path(root, dir+"/tries"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || n < 0 || n > 99 {
			return 0
		}
		return n
	}
	return 0
}

// WithTries is the name of a new image that is tried so often.
func WithTries(path string, tries int) string {
	if tries == 0 {
		return path
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "+" + strconv.Itoa(tries) + ext
}
