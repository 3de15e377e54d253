// Package testlan is a LAN for tests: one in memory, of net.PacketConns
// with loss and delay, and a real one, of network namespaces and veth
// pairs.
package testlan

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const insideEnv = "LATCHKEY_TEST_NETNS"

// Main is the TestMain of a package with tests on a real network: as root
// it runs them all in a network namespace of their own, which is gone
// when they end.
func Main(m *testing.M) {
	Inside(m, insideEnv, syscall.CLONE_NEWNET, func() error {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("%w %s", err, out)
		}
		return nil
	})
}

// Inside runs all tests, as root in new namespaces, which env tells them of
// and prepare has made ready, and ends the process.
func Inside(m *testing.M, env string, namespaces uintptr, prepare func() error) {
	if os.Getenv(env) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "preparing namespaces of the tests' own:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}

	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0] // the fuzzing engine starts its workers by it
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "running tests in namespaces:", err)
		}
		os.Exit(1)
	}

	os.Exit(0)
}

// Need skips the test unless it runs as root in a namespace of Main's and
// the programs are installed. With CI=true it fails instead.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	complain := t.Skipf
	if os.Getenv("CI") == "true" {
		complain = t.Fatalf
	}
	if os.Getenv(insideEnv) == "" {
		complain("needs root, to make network namespaces")
	}
	for _, p := range append(programs, "ip", "nsenter", "unshare") {
		if _, err := exec.LookPath(p); err != nil {
			complain("needs the program %s", p)
		}
	}
}

// Run runs a program here and returns what it prints; the test ends if it
// fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Build compiles a command of this module and returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	bin := t.TempDir() + "/" + pkg[strings.LastIndexByte(pkg, '/')+1:]
	Run(t, "go", "build", "-o", bin, pkg)
	return bin
}

// Await looks until ok is true; the test ends if it is not after 10 s.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !ok(); {
		select {
		case <-end:
			t.Fatalf("waiting for %s: not there after 10 s", what)
		case <-tick:
		}
	}
}
