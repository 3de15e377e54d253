package boottest

import (
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/boot"
	"latchkey/boot/wire"
)

// pid1 is a Machine as PID 1 sees it.
type pid1 struct{ *Machine }

func (m pid1) Mount(mount boot.Mount) error {
	m.note("%s", mount)
	if mount.Target == "/sysroot" {
		m.maybeHang("mount")
	}
	if m.NoOverlay && mount.Type == "overlay" {
		return unix.ENODEV
	}
	return m.NoMount[mount.Target]
}

func (m pid1) Unmount(target string) error {
	m.note("unmount %s", target)
	m.maybeHang("unmount")
	return nil
}

func (m pid1) maybeHang(call string) {
	if m.Stuck[call] {
		m.hang()
	}
}

func (m pid1) Mkdir(string) error { return nil }

func (m pid1) ReadFile(path string) ([]byte, error) {
	switch path {
	case wire.PlanFile:
		return m.Plan.Encode()
	case "/proc/sys/kernel/random/boot_id":
		return []byte("0f0e0d0c-0b0a-0908-0706-050403020100\n"), nil
	case wire.CmdlineAt:
		return []byte(m.Cmdline), nil
	}
	if data, ok := m.Extra[path]; ok {
		return data, nil
	}
	return nil, os.ErrNotExist
}

func (m pid1) List(dir string) (names []string, err error) {
	for _, p := range slices.Sorted(maps.Keys(m.Extra)) {
		if path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	if names == nil {
		return nil, os.ErrNotExist
	}
	return names, nil
}

func (m pid1) WriteFile(path string, data []byte, _ os.FileMode) error {
	m.mu.Lock()
	m.files[path] = data
	m.mu.Unlock()
	if !strings.HasPrefix(path, "/proc/") {
		m.note("write %s %s", path, strings.Join(strings.Fields(string(data)), " "))
	}
	return nil
}

// Load takes a moment: the ciphers test themselves.
func (m pid1) Load([]string, []string) error {
	time.Sleep(200 * time.Millisecond)
	m.load()
	return nil
}

func (m pid1) Start(role string, incarnation int) (boot.Child, error) {
	select {
	case <-m.over:
		return nil, errors.New("the test is over")
	default:
	}
	m.note("start %s %d", role, incarnation)
	return m.start(role, incarnation), nil
}

func (m pid1) Mappings() (map[string]boot.Mapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.mappings), nil
}

func (m pid1) RemoveMapping(name string) error {
	m.note("remove mapping %s", name)
	m.maybeHang("remove mapping")
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mappings, name)
	m.stop(name)
	return nil
}

func (m pid1) InitIn(string, string) (string, error) { return "/usr/lib/systemd/systemd", nil }

func (m pid1) Timestamp(time.Duration, time.Duration) (int, error) { return 7, nil }

func (m pid1) SwitchRoot(root, init string, _ []string) error {
	m.note("switch root to %s, run %s", root, init)
	m.end(Outcome{Root: init})
	return nil
}

func (m pid1) Reboot(action string) error {
	m.note("reboot: %s", action)
	if m.Stuck["reboot"] {
		m.hang()
		runtime.Goexit()
	}
	m.end(Outcome{Action: action})
	return nil
}

// end tells the outcome. The real calls do not come back, either.
func (m pid1) end(o Outcome) {
	o.After = time.Since(m.began)
	select {
	case m.ended <- o:
	default: // nobody waits any more
	}
	runtime.Goexit()
}

func (m pid1) Now() time.Duration { return m.now() }

func (m pid1) Log(level boot.Level, text string) {
	kind := "log"
	if level == boot.Human {
		kind = "human"
	}
	m.note("%s: %s", kind, text)
}

// A Dog is a watchdog that bites when nobody pets it for half a minute.
type Dog struct {
	Pets  int
	Left  bool // closed, as it was found
	timer *time.Timer
}

// Watchdog implements boot.System.
func (m pid1) Watchdog() (io.WriteCloser, error) {
	if m.Dog == nil {
		return nil, errors.ErrUnsupported
	}
	if m.Dog.timer == nil {
		m.Dog.timer = time.AfterFunc(30*time.Second, func() {
			m.note("the watchdog resets the machine")
			select {
			case m.ended <- Outcome{Action: "reset", After: time.Since(m.began)}:
			default:
			}
		})
	}
	return m.Dog, nil
}

func (d *Dog) Write(b []byte) (int, error) {
	d.Pets++
	d.timer.Reset(30 * time.Second)
	return len(b), nil
}

// Close stops it.
func (d *Dog) Close() error {
	d.Left = true
	d.timer.Stop()
	return nil
}
