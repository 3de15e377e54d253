package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
)

// A lan is a network namespace with a bridge: the host side is 192.0.2.1
// and 2001:db8::1, machines are plugged in by taps.
type lan struct {
	ns   string
	taps int
}

var lans atomic.Int32

func newLAN() (*lan, error) {
	l := &lan{ns: fmt.Sprintf("lk%d-%d", os.Getpid(), lans.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", l.ns).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a network namespace: %w: %s", err, out)
	}

	for _, line := range []string{
		"link set lo up",
		"link add br0 type bridge forward_delay 0 mcast_snooping 0",
		"link set br0 address 02:00:00:00:00:01",
		// One leg that is always up: without it the bridge has no carrier
		// while no machine runs, and mDNS responders leave it.
		"link add leg0 type veth peer name leg1",
		"link set leg0 master br0 up",
		// It is nobody: it must not answer ARP for the bridge.
		"link set leg1 arp off addrgenmode none up",
		"link set br0 up",
		"addr add 192.0.2.1/24 dev br0",
		"addr add 2001:db8::1/64 dev br0 nodad",
	} {
		if err := l.ip(line); err != nil {
			l.close()
			return nil, err
		}
	}

	return l, nil
}

func (l *lan) ip(line string) error {
	args := append([]string{"-n", l.ns}, strings.Fields(line)...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, out)
	}
	return nil
}

// tap plugs one more cable in.
func (l *lan) tap() (string, error) {
	name := fmt.Sprintf("tap%d", l.taps)
	l.taps++
	for _, line := range []string{"tuntap add " + name + " mode tap", "link set " + name + " master br0 up"} {
		if err := l.ip(line); err != nil {
			return "", err
		}
	}
	return name, nil
}

// command is a command inside the namespace.
func (l *lan) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.ns, name}, args...)...)
}

func (l *lan) close() { exec.Command("ip", "netns", "del", l.ns).Run() }
