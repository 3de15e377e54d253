package agent_test

import (
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/testlan"
)

const insideEnv = "LATCHKEY_TEST_RUN"

// TestMain gives the tests a /run of their own, if they run as root: systemd's
// programs have their sockets there. The binary is other programs, too, where a
// test wants one.
func TestMain(m *testing.M) {
	if path := os.Getenv("LATCHKEY_TEST_HANGS"); path != "" {
		hang(path)
	}
	if fifo := os.Getenv("LATCHKEY_TEST_ASKPASS"); fifo != "" {
		askpass(fifo)
		os.Exit(0)
	}
	testlan.Inside(m, insideEnv, syscall.CLONE_NEWNS, func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
	})
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
