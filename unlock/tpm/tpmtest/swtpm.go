// Package tpmtest runs software TPMs for tests.
package tpmtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Simulator is a software TPM: swtpm on a Unix socket.
type Simulator struct {
	// Socket is what tpm.Open takes. The control channel is where tpm2-tss
	// looks for it, at the same path with .ctrl.
	Socket string

	tb    testing.TB
	dir   string
	flags string
}

// Start runs a new TPM until the test ends. Without swtpm the test is
// skipped, in CI it fails.
func Start(tb testing.TB) *Simulator {
	tb.Helper()
	s := prepare(tb)
	s.Boot()
	return s
}

// prepare makes the folder of a TPM.
func prepare(tb testing.TB) *Simulator {
	tb.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("swtpm is needed in CI: %v", err)
		}
		tb.Skip("swtpm is not installed")
	}

	// Not tb.TempDir: a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		tb.Fatal(err)
	}

	s := &Simulator{Socket: filepath.Join(dir, "tpm.sock"), tb: tb, dir: dir}
	tb.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	return s
}

// Boot powers the TPM on, with the state it had: PCRs are zero again.
func (s *Simulator) Boot() {
	s.tb.Helper()
	// --daemon returns once the sockets listen. tpm2-tss looks for the control
	// socket beside the other, with this suffix.
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--daemon", "--tpmstate", "dir="+s.dir,
		"--server", "type=unixio,path="+s.Socket, "--ctrl", "type=unixio,path="+s.Socket+".ctrl",
		"--pid", "file="+s.pidFile(), "--flags", "not-need-init,startup-clear"+s.flags)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("starting swtpm: %v\n%s", err, out)
	}
}

// Stop takes the power away, without a TPM2_Shutdown.
func (s *Simulator) Stop() {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return
	}

	pid, err := strconv.Atoi(strings.TrimSpace(string(bytes.TrimSpace(text))))
	if err != nil {
		return
	}

	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		unix.Kill(pid, unix.SIGKILL)
		// Gone means that the lock on its state is free.
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		unix.Close(fd)
	}

	os.Remove(s.pidFile())
	os.Remove(s.Socket)
}

// Reboot is Stop and Boot.
func (s *Simulator) Reboot() {
	s.tb.Helper()
	s.Stop()
	s.Boot()
}

func (s *Simulator) pidFile() string { return filepath.Join(s.dir, "pid") }
