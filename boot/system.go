// Package boot is one boot, from the kernel's hand-over to the real
// root's init: PID 1, the worker that finds and opens the volumes, and
// the latch that closes the TPM behind them.
package boot

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"latchkey/boot/wire"
)

// System is what PID 1 asks of the kernel. The real one takes no
// decisions; the one in tests writes down what was asked, so that the
// order of a boot can be read as text.
type System interface {
	Mount(Mount) error
	Unmount(target string) error
	Mkdir(path string) error
	ReadFile(path string) ([]byte, error)
	WriteFile(path string, data []byte, perm os.FileMode) error
	// List names what is in a folder, sorted.
	List(dir string) ([]string, error)
	// Load loads modules of the image by name, except the blocked ones.
	Load(names, blocked []string) error
	// Start runs this binary again in a role. The channel yields what it
	// says and is closed when it has ended.
	Start(role string, incarnation int) (Child, error)
	// Mappings lists the device-mapper devices, and the arrays of md that run,
	// which have the path of their node as a name: "/dev/md127".
	Mappings() (map[string]Mapping, error)
	RemoveMapping(name string) error
	// InitIn tells which file a root's init really is, with every link
	// resolved inside the root, and fails if it cannot be run.
	InitIn(root, path string) (string, error)
	// Timestamp makes systemd's hand-over file and returns its descriptor.
	Timestamp(realtime, monotonic time.Duration) (int, error)
	// SwitchRoot makes root "/" and runs init. It returns only on failure,
	// and before anything is deleted if the failure can be seen early.
	SwitchRoot(root, init string, args []string) error
	// Reboot ends the machine. It waits for no disk for ever.
	Reboot(action string) error
	// Watchdog opens the hardware watchdog. Every Write pets it, Close stops
	// it. It fails if there is none, or one that could not be stopped.
	Watchdog() (io.WriteCloser, error)
	Now() time.Duration // since the kernel started
	Log(level Level, text string)
}

// A Level of a line in the kernel log.
type Level int

// Levels: what people must see even on a quiet console, and the rest.
const (
	Human Level = iota + 1
	Info
)

// A Child is a running worker or latch.
type Child interface {
	Records() <-chan wire.Record
	Send(wire.Record) error
	Kill()
}

// A Mapping is what the kernel says of a device-mapper device.
type Mapping struct {
	UUID   string   // "CRYPT-LUKS2-<uuid without dashes>-<name>", "LVM-<64 characters>"; "" of an array
	Device string   // "253:0"
	On     []string // what it stands on: mappings and arrays by name, other devices as the kernel calls them
}

// A Mount is one call of mount(2).
type Mount struct {
	Source, Target, Type string
	Flags                []string // as in mount(8): "nosuid", "ro", …; "move"
	Data                 string
}

func (m Mount) String() string {
	return fmt.Sprintf("mount %s on %s type %s (%s) %s", m.Source, m.Target, m.Type, strings.Join(m.Flags, ","), m.Data)
}

// early are the pseudo file systems, in the order they need each other.
func early() []Mount {
	return []Mount{
		{"devtmpfs", "/dev", "devtmpfs", []string{"nosuid", "noexec"}, "mode=0755"},
		{"proc", "/proc", "proc", []string{"nosuid", "nodev", "noexec"}, ""},
		{"sysfs", "/sys", "sysfs", []string{"nosuid", "nodev", "noexec"}, ""},
		{"tmpfs", "/run", "tmpfs", []string{"nosuid", "nodev"}, "mode=0755,size=20%"},
	}
}
