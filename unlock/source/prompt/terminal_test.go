package prompt

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a pseudo terminal: what is typed at keys is read from console.
func pty(t *testing.T) (keys, console *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	raw, err := keys.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	console, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	return keys, console
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var state *unix.Termios
	raw.Control(func(fd uintptr) { state, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// arrived waits until a line can be read.
func arrived(t *testing.T, f *os.File) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A passphrase is not shown, what was typed before the question and what
// is half typed at its end is dropped, and the echo is on afterwards, also
// when the KMS was faster than the person (faults/node.md, the low ones).
func TestTerminal(t *testing.T) {
	keys, console := pty(t)
	again, err := os.OpenFile(console.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !echoes(t, again) {
		t.Fatal("a new terminal does not echo: the test tests nothing")
	}

	keys.WriteString("typed too early\n")
	arrived(t, again)
	term := hush(console)
	if echoes(t, again) {
		t.Error("the terminal echoes what is typed")
	}
	keys.WriteString("the passphrase\nhalf a passphr") // one piece: both have arrived when the first is read
	line, err := readLine(term)
	if err != nil || string(line.Reveal()) != "the passphrase" {
		t.Errorf("readLine = %q, %v, want what was typed after the question", line.Reveal(), err)
	}

	if err := term.Close(); err != nil {
		t.Error(err)
	}
	if !echoes(t, again) {
		t.Error("the echo stays off")
	}
	keys.WriteString("root\n")
	login, err := readLine(again)
	if err != nil || string(login.Reveal()) != "root" {
		t.Errorf("the next program reads %q, %v, want %q", login.Reveal(), err, "root")
	}
}

// Close ends a read that waits.
func TestTerminalClose(t *testing.T) {
	_, console := pty(t)
	term := hush(console)
	ended := make(chan error, 1)
	go func() {
		_, err := readLine(term)
		ended <- err
	}()
	time.AfterFunc(50*time.Millisecond, func() { term.Close() })
	if err := <-ended; err == nil {
		t.Error("readLine gave a line that nobody typed")
	}
}

// What is no terminal is read as it is.
func TestNoTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	term := hush(f)
	line, err := readLine(term)
	if err != nil || string(line.Reveal()) != "a line" {
		t.Errorf("readLine = %q, %v", line.Reveal(), err)
	}
	if err := term.Close(); err != nil {
		t.Error(err)
	}
}
