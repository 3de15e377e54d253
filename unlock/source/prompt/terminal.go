package prompt

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Console opens the kernel's console for a question.
func Console() (io.ReadWriteCloser, error) { return Terminal("/dev/console") }

// Terminal opens a terminal for a question: without echo, and without what
// was typed before.
func Terminal(path string) (io.ReadWriteCloser, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the console: %w", err)
	}
	return hush(f), nil
}

// A terminal is the console with its echo off.
type terminal struct {
	*os.File
	before *unix.Termios // nil if it is no terminal: nothing echoes there
}

// hush switches the terminal's echo off and drops what was typed before.
func hush(f *os.File) *terminal {
	t := &terminal{File: f}
	t.control(func(fd int) {
		before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return
		}

		quiet := *before
		quiet.Lflag &^= unix.ECHO
		quiet.Lflag |= unix.ICANON
		if unix.IoctlSetTermios(fd, unix.TCSETS, &quiet) == nil {
			t.before = before
			unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		}
	})
	return t
}

// Close drops a line that was begun, so that no login prompt of the real
// root gets half a passphrase, and switches the echo on again.
func (t *terminal) Close() error {
	t.control(func(fd int) {
		if t.before != nil {
			unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
			unix.IoctlSetTermios(fd, unix.TCSETS, t.before)
		}
	})
	return t.File.Close()
}

func (t *terminal) control(f func(fd int)) {
	if raw, err := t.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) }) // fails only when closed
	}
}
