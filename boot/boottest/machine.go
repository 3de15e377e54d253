// Package boottest is a machine in memory: disks, a TPM, a key server, a
// console and the kernel's part, good or misbehaving. PID 1, worker and
// latch run on it as they are, in goroutines, under testing/synctest.
package boottest

import (
	"fmt"
	"net"
	"sync"
	"time"

	"latchkey/boot"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock/source/clevis/clevistest"
)

// A Machine is one that boots once. Fill its parts in before the boot.
type Machine struct {
	Plan    *plan.Plan
	Cmdline string
	Extra   map[string][]byte // files of the initramfs besides the plan, by path
	Disks   []*Disk
	TPM     TPM
	KMS     KMS
	Person  Person
	FreeMiB int64
	Drivers time.Duration // how long each device's driver takes to load
	Mapping time.Duration // how long a volume takes to open
	// Reaches tells with which settings of the network the key server and
	// tang servers can be reached; nil is with all.
	Reaches func(plan.Net) bool
	Dog     *Dog                        // nil: there is no watchdog
	Keys    map[string]string           // key files in the image, by path
	Tangs   map[string]*clevistest.Tang // tang servers by address
	// Challengers are servers of Kairos' protocol by address.
	Challengers map[string]*Challenger
	// TalosKMS are KMS of Talos by address. Each serves a connection.
	TalosKMS  map[string]func(net.Conn)
	UUID      string            // of SMBIOS, "" if there is none
	Plain     bool              // the init has no TLS
	Inside    map[string][]byte // what volumes hold, by the name of the mapping; without an entry, ext4
	Arrays    map[string][]byte // what arrays other than mirrors hold, by UUID
	NoArrays  error             // why the kernel runs no array
	NoCaches  error             // why bcache takes no device
	NoPaths   error             // why disks with several paths are not mapped
	NoALUA    bool              // the kernel has no scsi_dh_alua
	NoMount   map[string]error  // why nothing mounts there, by target
	NoOverlay bool              // the kernel has none
	// Stuck are calls of PID 1 that never come back: "mount", "unmount",
	// "remove mapping", "reboot".
	Stuck map[string]bool

	mu       sync.Mutex
	log      []string
	began    time.Time
	mappings map[string]boot.Mapping
	members  map[string]string // of arrays that run: disks and mappings by name
	disksOf  map[string]*Disk  // by the name of the mapping over the paths
	running  []*process
	events   []chan device.Event
	net      plan.Net
	files    map[string][]byte // that PID 1 wrote
	ciphers  bool              // dm-crypt and the ciphers are loaded
	over     chan struct{}     // closed by End: whatever hangs comes back
	ended    chan Outcome
	gone     chan struct{} // closed when PID 1 is
}

// An Outcome is how a boot ended.
type Outcome struct {
	Root   string // the init that runs, "" if none does
	Action string // "reboot", "poweroff" or "halt", or ""
	After  time.Duration
}

func (o Outcome) String() string {
	if o.Root != "" {
		return "root"
	}
	return o.Action
}

// Key, Recovery and their like are what opens volumes: 32 bytes that stand
// for a machine's random key, and a recovery key of people.
const (
	Key      = "0123456789abcdef0123456789abcdef"
	Recovery = "this is the recovery key of people"
)

// New is a good machine with a root on vda, which a key server that is found
// by its URL gives the key of.
func New(sources ...string) *Machine {
	m := &Machine{
		Plan: &plan.Plan{
			Version: plan.Version,
			Trust:   plan.Trust{KMS: []plan.PublicKey{"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="}},
			Find:    plan.Find{URLs: []string{"http://192.0.2.1:7741"}, Timeout: 10 * time.Minute},
			Volumes: []plan.Volume{{UUID: RootUUID, Name: "root", Sources: sources}}, HeadStart: plan.DefaultHeadStart, Degraded: plan.DefaultDegraded,
			OnFail: plan.OnFail{Action: "reboot", After: time.Minute},
		},
		Disks: []*Disk{RootDisk()}, FreeMiB: 1024,
		mappings: map[string]boot.Mapping{}, members: map[string]string{}, disksOf: map[string]*Disk{}, files: map[string][]byte{}, over: make(chan struct{}), ended: make(chan Outcome, 1), gone: make(chan struct{}),
	}
	m.TPM.machine, m.KMS.machine = m, m
	m.KMS.Keys = map[string]string{RootUUID: Key}
	return m
}

// Boot runs PID 1 until the real root's init runs or the machine is
// switched off, for at most limit; ok is false if neither has come.
func (m *Machine) Boot(limit time.Duration) (o Outcome, ok bool) {
	m.began = time.Now()
	go func() {
		defer close(m.gone)
		boot.Run(pid1{m})
	}()
	select {
	case o = <-m.ended:
		return o, true
	case <-time.After(limit):
		return Outcome{}, false
	}
}

// End ends whatever still runs or hangs, so that a test can end.
func (m *Machine) End() {
	close(m.over)
	m.mu.Lock()
	running := m.running
	m.mu.Unlock()
	for _, p := range running {
		p.kill()
	}
	select {
	case <-m.gone: // it finds no child to start any more, and reboots
	case <-time.After(24 * time.Hour):
	}
}

// Log is what was said and done, a line each.
func (m *Machine) Log() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.log...)
}

// File is what PID 1 has written there.
func (m *Machine) File(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[path]
}

func (m *Machine) load() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ciphers = true
}

func (m *Machine) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("%7.1fs ", time.Since(m.began).Seconds())+fmt.Sprintf(format, args...))
}

// Began is when init starts, since the kernel did.
const Began = time.Second

func (m *Machine) now() time.Duration { return Began + time.Since(m.began) }

// Mapped lists the names of the mappings that are there.
func (m *Machine) Mapped() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.mappings {
		names = append(names, name)
	}
	return names
}

// hang waits until End.
func (m *Machine) hang() { <-m.over }

// phase11 is what PCR 11 holds after the phase enter-initrd.
func phase11() [32]byte { return wire.Extended([32]byte{}, enterInitrd()) }
