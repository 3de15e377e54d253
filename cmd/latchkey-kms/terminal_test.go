package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// A screen is a terminal that latchkey-kms runs in, and what stands on it.
type screen struct {
	mu       sync.Mutex
	emulator *vt.Emulator
	changed  chan struct{} // of one, filled at each change
	keys     *os.File
	ended    chan error
}

// terminals are those of this process' scripts, by the folder of each.
var terminals sync.Map

// keys are the bytes that a terminal sends.
var keys = map[string]string{"enter": "\r", "up": "\x1b[A", "down": "\x1b[B", "esc": "\x1b"}

// terminalCommand: terminal start ARGS… runs latchkey-kms in a terminal of 100
// columns | [!] terminal see REGEXP waits until it stands there, or does not
// any more | terminal press KEY | terminal end waits for its end.
func terminalCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 1 && args[0] == "start" {
		s, err := startTerminal(ts, args[1:])
		ts.Check(err)
		terminals.Store(ts.Getenv("WORK"), s)
		return
	}
	got, ok := terminals.Load(ts.Getenv("WORK"))
	if !ok || len(args) == 0 {
		ts.Fatalf("usage: terminal start ARGS… | [!] terminal see REGEXP | terminal press KEY | terminal end")
	}
	s := got.(*screen)
	switch {
	case len(args) == 2 && args[0] == "see":
		s.see(ts, regexp.MustCompile(args[1]), !neg)
	case len(args) == 2 && args[0] == "press":
		text, ok := keys[args[1]]
		if !ok {
			text = args[1]
		}
		_, err := s.keys.WriteString(text)
		ts.Check(err)
	case len(args) == 1 && args[0] == "end":
		if err := <-s.ended; (err != nil) != neg {
			ts.Fatalf("the terminal's program ended: %v", err)
		}
	default:
		ts.Fatalf("terminal: unknown: %s", strings.Join(args, " "))
	}
}

func startTerminal(ts *testscript.TestScript, args []string) (*screen, error) {
	master, slave, err := openPTY(100, 40)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal: %w", err)
	}
	defer slave.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &screen{emulator: vt.NewEmulator(100, 40), changed: make(chan struct{}, 1), keys: master, ended: make(chan error, 1)}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "latchkey-kms"
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ts.Defer(func() { cmd.Process.Kill(); master.Close() })

	go io.Copy(master, s.emulator) // what a terminal answers
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if n > 0 {
				s.mu.Lock()
				s.emulator.Write(buf[:n])
				s.mu.Unlock()
				select {
				case s.changed <- struct{}{}:
				default:
				}
			}
			if err != nil { // EIO, when the program is gone
				s.ended <- cmd.Wait()
				return
			}
		}
	}()
	return s, nil
}

// see waits until the text stands on the screen, or does not.
func (s *screen) see(ts *testscript.TestScript, want *regexp.Regexp, there bool) {
	for end := time.After(20 * time.Second); ; {
		s.mu.Lock()
		text := s.emulator.String()
		s.mu.Unlock()
		if want.MatchString(text) == there {
			return
		}
		select {
		case <-s.changed:
		case <-end:
			ts.Fatalf("on the screen, %q: %v; it is:\n%s", want, !there, text)
		}
	}
}

// openPTY opens a terminal: pty(7).
func openPTY(columns, rows uint16) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that Close ends a Read
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, err
}
