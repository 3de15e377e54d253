package agent_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const insideEnv = "LATCHKEY_TEST_RUN"

// TestMain gives the tests a /run of their own, if they run as root: systemd's
// programs have their sockets there. It is other
// programs, too, where a test wants one.
func TestMain(m *testing.M) {
	if path := os.Getenv("LATCHKEY_TEST_HANGS"); path != "" {
		hang(path)
	}
	if fifo := os.Getenv("LATCHKEY_TEST_ASKPASS"); fifo != "" {
		askpass(fifo)
		os.Exit(0)
	}
	if os.Getenv(insideEnv) != "" {
		err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err == nil {
			err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "preparing a /run:", err)
			os.Exit(1)
		}
	}
	if os.Getenv(insideEnv) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0] // the fuzzing engine starts its workers by it
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "running tests with a /run of their own:", err)
		}
		os.Exit(1)
	}
	os.Exit(0)
}

var held []net.Conn

// hang takes connections and answers none.
func hang(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("ready\n")
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		held = append(held, c) // open until this process is killed
	}
}
