package testlan

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Peer is another machine: a network and mount namespace with a process
// that keeps it.
type Peer struct {
	t      testing.TB
	pid    string
	spaces []string // nsenter's options for the namespaces that it has
}

// NewPeer starts a machine that lives as long as the test.
func NewPeer(t testing.TB) *Peer {
	t.Helper()
	return newPeer(t, []string{"--net", "--mount"}, nil, "mount -t tmpfs tmpfs /run && ip link set lo up")
}

// newPeer starts a machine with namespaces of its own. What its programs
// enter may be more than that: its root folder.
func newPeer(t testing.TB, spaces, more []string, prepare string) *Peer {
	t.Helper()
	cmd := exec.Command("unshare", append(spaces, "sh", "-c", prepare+" && echo ready && exec sleep 1000")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatalf("starting a namespace: %v", err)
	}

	return &Peer{t: t, pid: fmt.Sprint(cmd.Process.Pid), spaces: append(spaces, more...)}
}

// Connect lays a cable: a veth pair between the link here and the link
// there. Both ends are down.
func (p *Peer) Connect(here, there string) {
	p.t.Helper()
	Run(p.t, "ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", p.pid)
	p.t.Cleanup(func() { exec.Command("ip", "link", "del", here).Run() })
}

// Run runs a program on the machine and returns what it prints.
func (p *Peer) Run(name string, args ...string) string {
	p.t.Helper()
	return Run(p.t, "nsenter", p.args(name, args)...)
}

// Command is a program to run on the machine.
func (p *Peer) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", p.args(name, args)...)
}

func (p *Peer) args(name string, args []string) []string {
	return slices.Concat(p.spaces, []string{"--target", p.pid, name}, args)
}

// Start runs a program on the machine until the test ends; what it prints
// is shown if the test fails.
func (p *Peer) Start(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}

	p.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(2 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		if p.t.Failed() {
			p.t.Logf("%s: %s", name, out.String())
		}
	})

	return cmd
}

// Watch starts a program on the machine and returns how to end it and get
// what it printed.
func (p *Peer) Watch(name string, args ...string) func() string {
	p.t.Helper()
	cmd := p.Command(name, args...)
	var out strings.Builder
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}

	end := func() string {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		return out.String()
	}

	p.t.Cleanup(func() { end() })
	return end
}

// Net is the file of the machine's network namespace: for nsenter.
func (p *Peer) Net() string { return "/proc/" + p.pid + "/ns/net" }
