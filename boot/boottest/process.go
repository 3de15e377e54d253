package boottest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/boot"
	"latchkey/boot/device"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
	"latchkey/boot/worker"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/netup"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/lvm"
)

var background = context.Background()

// A process is a running worker or latch: its side of the record socket,
// and what became of it.
type process struct {
	machine  *Machine
	records  chan wire.Record // to PID 1; closed when it is gone
	orders   chan []byte      // from PID 1
	killed   chan struct{}
	once     sync.Once
	mu       sync.Mutex
	stuck    bool // in uninterruptible sleep: killed, it is not gone
	finished bool
}

type (
	workerProcess struct{ *process }
	latchProcess  struct{ *process }
)

// start runs a role in a goroutine.
func (m *Machine) start(role string, incarnation int) *process {
	p := &process{machine: m, records: make(chan wire.Record, 4096), orders: make(chan []byte, 64), killed: make(chan struct{})}
	m.mu.Lock()
	m.running = append(m.running, p)
	m.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		conn := wire.NewConn(p)
		if role == "latch" {
			latch.Run(latchProcess{p}, conn, incarnation)
			return
		}
		worker.Run(workerProcess{p}, conn, incarnation)
	}()
	go func() {
		select {
		case <-gone:
		case <-p.killed:
		}
		p.mu.Lock()
		stuck := p.stuck
		p.mu.Unlock()
		if stuck {
			m.hang()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.finished = true
		close(p.records)
		p.kill()
	}()
	return p
}

func (p *process) kill() { p.once.Do(func() { close(p.killed) }) }

func (p *process) alive() error {
	select {
	case <-p.killed:
		return errKilled
	default:
		return nil
	}
}

// stick is a call that does not come back, of a process that cannot be
// killed in it.
func (p *process) stick() {
	p.mu.Lock()
	p.stuck = true
	p.mu.Unlock()
	p.machine.hang()
}

// Write implements the record socket for the child.
func (p *process) Write(b []byte) (int, error) {
	r, err := wire.Decode(b)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished || p.alive() != nil {
		return 0, errKilled
	}
	p.records <- r // there is room: PID 1 never falls that far behind
	return len(b), nil
}

// Read implements the record socket for the child.
func (p *process) Read(b []byte) (int, error) {
	select {
	case order := <-p.orders:
		return copy(b, order), nil
	case <-p.killed:
		return 0, io.EOF
	}
}

// Records, Send and Kill implement boot.Child.
func (p *process) Records() <-chan wire.Record { return p.records }

func (p *process) Send(r wire.Record) error {
	b := r.Encode()
	p.orders <- b[:]
	return nil
}

func (p *process) Kill() { p.kill() }

// Plan implements worker.System and latch.System.
func (p *process) Plan() (*plan.Plan, string, error) {
	if file, err := p.machine.Plan.Encode(); err == nil {
		read, err := plan.ParseAgain(file, p.machine.Cmdline, string(p.machine.Extra[wire.ImageCmdline]))
		return read, p.machine.Cmdline, errors.Join(err, p.alive())
	}
	read := *p.machine.Plan // one that no image could have
	read.ImageRoot = read.Root
	return &read, p.machine.Cmdline, p.alive()
}

// Now implements worker.System.
func (w workerProcess) Now() time.Duration { return w.machine.now() }

// Log implements worker.System.
func (w workerProcess) Log() *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{w.machine}, nil))
}

type logWriter struct{ *Machine }

func (w logWriter) Write(b []byte) (int, error) {
	_, text, _ := strings.Cut(strings.TrimSpace(string(b)), " ") // less the time
	w.note("worker: %s", text)
	return len(b), nil
}

// Events implements worker.Drivers.
func (w workerProcess) Events(ctx context.Context) (<-chan device.Event, error) {
	events := make(chan device.Event, 16)
	m := w.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, events)
	go func() {
		<-ctx.Done()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.events = slices.DeleteFunc(m.events, func(e chan device.Event) bool { return e == events })
		close(events)
	}()
	return events, w.alive()
}

// Plug puts a disk into the running machine.
func (m *Machine) Plug(d *Disk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Disks = append(m.Disks, d)
	for _, e := range m.events {
		e <- device.Event{Action: "add", Subsystem: "block"}
	}
}

// Unplug takes it out again.
func (m *Machine) Unplug(d *Disk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Disks = slices.DeleteFunc(m.Disks, func(other *Disk) bool { return other == d })
	for _, e := range m.events {
		e <- device.Event{Action: "remove", Subsystem: "block"}
	}
}

func (m *Machine) disks() []*Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.Disks)
}

// Modaliases implements worker.Drivers.
func (workerProcess) Modaliases() []string { return []string{"pci:v00001AF4"} }

// Modules implements worker.Drivers.
func (w workerProcess) Modules([]string, *slog.Logger) (worker.Loader, error) {
	return modules(w.machine.Drivers), nil
}

// modules is how long a driver takes to load.
type modules time.Duration

func (modules) Named(...string) {}
func (m modules) Device(string) { time.Sleep(time.Duration(m)) }
func (modules) Hold(bool)       {}
func (modules) Release()        {}

// Blocks implements worker.Disks.
func (w workerProcess) Blocks() (all []device.Block, err error) {
	disks := w.machine.disks()
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	for i, d := range disks {
		b := d.block(i)
		b.Array = cmp.Or(w.machine.members[d.Name], b.Array)
		all = append(all, b)
	}
	for name, m := range w.machine.mappings {
		if m.UUID == "" {
			continue // an array, which is among the disks
		}
		b := device.Block{Major: 253, SizeBytes: int64(len(w.machine.inside(name))), Array: w.machine.members[name]}
		fmt.Sscanf(m.Device, "253:%d", &b.Minor)
		b.Name = fmt.Sprint("dm-", b.Minor)
		b.Path, b.Disk = "/dev/"+b.Name, b.Name
		all = append(all, b)
	}
	return all, w.alive()
}

// Open implements worker.Disks.
func (w workerProcess) Open(path string, _ bool) (worker.File, error) {
	if name, ok := strings.CutPrefix(path, "/dev/mapper/"); ok {
		w.machine.mu.Lock()
		defer w.machine.mu.Unlock()
		if _, ok := w.machine.mappings[name]; !ok {
			return nil, errors.New("no such mapping")
		}
		if d := w.machine.disksOf[name]; d != nil {
			return file{d, w.process}, nil
		}
		return plaintext{bytes.NewReader(w.machine.inside(name))}, nil
	}
	for _, d := range w.machine.disks() {
		if path == "/dev/"+d.Name {
			return file{d, w.process}, w.alive()
		}
	}
	return nil, errors.New("no such device")
}

// A file is a disk opened by a process.
type file struct {
	*Disk
	p *process
}

func (f file) ReadAt(b []byte, off int64) (int, error) {
	if f.Stuck || f.StuckBeyond > 0 && off+int64(len(b)) > f.StuckBeyond && off < int64(len(f.Bytes))-128<<10 {
		f.p.stick()
	}
	if f.Slow > 0 {
		select {
		case <-time.After(f.Slow):
		case <-f.p.killed:
			return 0, errKilled
		}
	}
	return f.Disk.ReadAt(b, off)
}

func (file) Close() error { return nil }

// place is which of the plan's volumes has a name.
func (m *Machine) place(name string) int {
	return slices.IndexFunc(m.Plan.Volumes, func(v plan.Volume) bool { return v.Name == name })
}

// inside is what a volume holds.
func (m *Machine) inside(name string) []byte {
	if b, ok := m.Inside[name]; ok {
		return b
	}
	return ext4
}

// Number implements worker.Disks.
func (w workerProcess) Number(path string) (n dm.Number, ok bool) {
	for i, d := range w.machine.disks() {
		if path == "/dev/"+d.Name {
			return dm.Number{Major: 254, Minor: uint32(i)}, true
		}
	}
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	m, ok := w.machine.mappings[strings.TrimPrefix(path, "/dev/mapper/")]
	fmt.Sscanf(m.Device, "%d:%d", &n.Major, &n.Minor)
	return n, ok
}

// MapLogical implements worker.Disks. What it stands on is what the table
// says.
func (w workerProcess) MapLogical(l dm.Logical) error {
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	if err := w.alive(); err != nil {
		return err
	}
	if _, ok := w.machine.mappings[l.Name]; ok {
		return errors.New("device or resource busy")
	}
	m := boot.Mapping{UUID: l.UUID, Device: fmt.Sprint("253:", len(w.machine.mappings))}
	for name, below := range w.machine.mappings {
		if slices.ContainsFunc(l.Rows, func(r lvm.Row) bool { return slices.Contains(strings.Fields(r.Params), below.Device) }) {
			m.On = append(m.On, name)
		}
	}
	w.machine.mappings[l.Name] = m
	w.machine.log = append(w.machine.log, fmt.Sprintf("map %s read-only=%t %v", l.Name, l.ReadOnly, l.Rows))
	return nil
}

// Map implements worker.Disks.
func (w workerProcess) Map(t dm.Target, key luks2.VolumeKey) error {
	time.Sleep(w.machine.Mapping)
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	if err := w.alive(); err != nil {
		return err
	}
	if !w.machine.ciphers {
		return errors.New("dm-crypt is not loaded")
	}
	w.machine.log = append(w.machine.log, fmt.Sprintf("map %s on %s", t.Name, t.Device))
	w.machine.mappings[t.Name] = boot.Mapping{UUID: "CRYPT-" + key.Type() + "-" + strings.ReplaceAll(key.UUID(), "-", "") + "-" + t.Name, Device: fmt.Sprint("253:", w.machine.place(t.Name))}
	return nil
}

// FreeBytes implements worker.Disks.
func (w workerProcess) FreeBytes() int64 { return w.machine.FreeMiB << 20 }

// Network implements worker.Links: one link that has an address at once.
func (w workerProcess) Network(ctx context.Context, n plan.Net, _ *slog.Logger, update func([]netup.Link)) error {
	w.machine.mu.Lock()
	w.machine.net = n
	w.machine.mu.Unlock()
	update([]netup.Link{{Index: 2, Name: "eth0", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}})
	<-ctx.Done()
	return nil
}

// Leave implements worker.Links.
func (w workerProcess) Leave(plan.Net, []netup.Link, *slog.Logger) error { return w.alive() }

// Sockets implements worker.Links: nobody is heard.
func (workerProcess) Sockets() discover.Sockets { return deaf{} }

type deaf struct{}

func (deaf) Multicast(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Group(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Direct(discover.Interface, bool) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (deaf) Dial(context.Context, discover.Interface, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
