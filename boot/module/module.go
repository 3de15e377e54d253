// Package module loads the kernel modules of the image: each once, its
// dependencies first, side by side where nothing forbids it.
package module

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// A Loader loads modules of one index. It may be used by many goroutines.
type Loader struct {
	index   *plan.Modules
	insert  func(path, params string) error
	blocked map[int]bool
	once    []sync.Once
	errs    []error
	blocks  []block
	log     *slog.Logger

	mu   sync.Mutex
	held []string // folders of drivers that are kept back
	late []int    // asked for while held
}

// slow are the folders of drivers that take their time to probe and that
// most machines boot without (a watchdog is for the boot that hangs); those of keyboards are needed where a person
// may type.
var (
	slow = []string{
		"/drivers/ata/", "/drivers/i2c/busses/i2c-i801.", "/drivers/message/", "/drivers/mfd/lpc_ich.", "/drivers/mmc/", "/drivers/scsi/", "/drivers/ufs/", "/drivers/watchdog/",
	}
	keyboards = []string{"/drivers/hid/", "/drivers/usb/"}
)

// New makes a Loader. The blocked names are never loaded, not even as a
// dependency; insert is Insert, or a fake in tests.
func New(index *plan.Modules, blocked []string, insert func(path, params string) error, log *slog.Logger) *Loader {
	l := &Loader{
		index: index, insert: insert, blocked: map[int]bool{}, log: log,
		once: make([]sync.Once, len(index.List)), errs: make([]error, len(index.List)), blocks: make([]block, len(index.Blocks)),
	}
	for _, name := range blocked {
		if i := index.Find(name); i >= 0 {
			l.blocked[i] = true
		}
	}
	return l
}

// ErrBlocked is the error of a module that the command line blocks.
var ErrBlocked = errors.New("blocked by the kernel command line")

// Named loads the modules of these names and returns when all are there.
// A name that is not in the image is no error: it may be built in.
func (l *Loader) Named(names ...string) {
	var wg sync.WaitGroup
	for _, name := range names {
		if i := l.index.Find(name); i >= 0 {
			wg.Go(func() { l.try(i) })
		}
	}
	wg.Wait()
}

// Device loads what serves a device with this modalias.
func (l *Loader) Device(modalias string) {
	var wg sync.WaitGroup
	for _, i := range l.index.Match(modalias) {
		if !l.keep(i) {
			wg.Go(func() { l.try(i) })
		}
	}
	wg.Wait()
}

// Hold keeps slow drivers back until Release, and those of keyboards too
// unless somebody may type. On a machine that finds its disks and its
// network without them they are never loaded; the real root's udev does it
// while nobody waits.
func (l *Loader) Hold(typed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = slow
	if !typed {
		l.held = slices.Concat(slow, keyboards)
	}
}

// Release loads what was asked for while held, and holds no more.
func (l *Loader) Release() {
	l.mu.Lock()
	late := l.late
	l.late, l.held = nil, nil
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, i := range late {
		wg.Go(func() { l.try(i) })
	}
	wg.Wait()
}

// keep tells whether a module is kept back, and remembers it.
func (l *Loader) keep(i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := slices.ContainsFunc(l.held, func(dir string) bool { return strings.Contains(l.index.List[i].Path, dir) })
	if kept {
		l.late = append(l.late, i)
	}
	return kept
}

// try loads a module; a failure is logged and the boot goes on, because
// what really was needed is missed by name later.
func (l *Loader) try(i int) {
	first := false
	err := l.load(i, &first)
	switch {
	case !first || err == nil:
	case errors.Is(err, unix.ENODEV):
		// The processor or board lacks what the module drives: padlock_aes is
		// tried on every machine, as another implementation of AES.
		l.log.Debug("module has nothing to drive here", "module", l.index.List[i].Name())
	default:
		l.log.Warn("module not loaded", "module", l.index.List[i].Name(), "err", err)
	}
}

func (l *Loader) load(i int, first *bool) error {
	l.once[i].Do(func() {
		*first = true
		l.errs[i] = l.loadNow(i)
	})
	return l.errs[i]
}

func (l *Loader) loadNow(i int) error {
	if l.blocked[i] {
		return ErrBlocked
	}
	m := l.index.List[i]
	var wg sync.WaitGroup
	errs := make([]error, len(m.Deps))
	for _, d := range m.Soft {
		wg.Go(func() { var f bool; l.load(d, &f) })
	}

	for n, d := range m.Deps {
		wg.Go(func() { var f bool; errs[n] = l.load(d, &f) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("loading what %s needs: %w", m.Name(), err)
	}

	if m.Packed() {
		return l.insertPart(m)
	}
	return l.insert(m.Path, m.Params)
}

// ReadIndex reads the image's index of modules, with their parameters of the
// command line. What an addon of the boot partition adds to that sets none,
// unless the plan allows it: no signature of the image's covers it.
func ReadIndex(read func(path string) ([]byte, error)) (*plan.Modules, error) {
	file, err := read(plan.ModulesFile)
	if err != nil {
		return nil, codes.Fail(codes.PlanInvalid, "reading the module index: %w", err)
	}
	index, err := plan.DecodeModules(file)
	if err != nil {
		return nil, codes.Fail(codes.PlanInvalid, "%w", err)
	}
	if line, err := wire.ReadLine(read); err == nil { // who needs the plan says what is wrong with it
		index.Configure(line)
	}
	return index, nil
}

// Insert gives a module file and its parameters to the kernel:
// finit_module(2). A module that is already there is no error.
func Insert(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening module: %w", err)
	}
	defer f.Close()
	switch err := unix.FinitModule(int(f.Fd()), params, 0); err {
	case nil, unix.EEXIST:
		return nil
	case unix.EPERM:
		return fmt.Errorf("inserting %s: the kernel refuses it, by module_blacklist= or because it wants it signed: %w", path, err)
	default:
		return fmt.Errorf("inserting %s: %w", path, err)
	}
}
