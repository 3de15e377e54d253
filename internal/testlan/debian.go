package testlan

import (
	"os"
	"path/filepath"
	"testing"
)

// debianEnv names the folder that images/interop-root made.
const debianEnv = "LATCHKEY_INTEROP"

// NeedDebian is Need for tests that run programs of NewDebian's.
func NeedDebian(t testing.TB, programs ...string) {
	t.Helper()
	Need(t, append(programs, "chroot")...)
	if os.Getenv(debianEnv) != "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs Debian's network services: %s=$(images/interop-root)", debianEnv)
	}
	t.Skipf("needs Debian's network services: %s=$(images/interop-root)", debianEnv)
}

// DebianRoot is the folder of a newer Debian's programs, for tests that run
// them in it by chroot, as root, without a network of its own.
func DebianRoot(t testing.TB) string {
	t.Helper()
	root := os.Getenv(debianEnv)
	switch {
	case root != "" && os.Getuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatalf("needs root and a newer Debian: %s=$(images/interop-root)", debianEnv)
	default:
		t.Skipf("needs root and a newer Debian: %s=$(images/interop-root)", debianEnv)
	}
	return root
}

// prepareDebian makes $1 the root of what follows, with fresh state, and a
// /sys that is read-only: that tells systemd and NetworkManager that there
// is no udev to wait for.
const prepareDebian = `r=$LATCHKEY_INTEROP
for d in run tmp var/lib/kea var/lib/dhcp var/lib/NetworkManager var/log; do mkdir -p $r/$d; mount -t tmpfs tmpfs $r/$d || exit 1; done
mount -t proc proc $r/proc && mount -t sysfs -o ro sysfs $r/sys && mount --rbind /dev $r/dev &&
mkdir -p $r/run/dbus $r/run/kea $r/run/lock $r/run/systemd/network $r/run/NetworkManager && chmod 755 $r/run && chmod 1777 $r/tmp &&
echo 00112233445566778899aabbccddeeff >$r/run/machine-id && touch $r/etc/machine-id && mount --bind $r/run/machine-id $r/etc/machine-id &&
ip link set lo up && hostname kms && exec chroot $r sh -c 'echo ready; exec sleep 1000'`

// NewDebian starts a Debian with the programs of images/interop-root, whose
// host name is kms. It has a network of its own, or else stands on the
// test's: what the real root's services do with the links.
func NewDebian(t testing.TB, ownNet bool) *Peer {
	t.Helper()
	spaces := []string{"--mount", "--uts"}
	if ownNet {
		spaces = append(spaces, "--net")
	}
	return newPeer(t, spaces, []string{"--root", "--wd"}, prepareDebian)
}

// File returns where a file of the machine is for this process.
func (p *Peer) File(path string) string { return filepath.Join("/proc", p.pid, "root", path) }

// Write writes a file on the machine.
func (p *Peer) Write(path, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.File(path), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Read returns a file of the machine; one that is not there is empty.
func (p *Peer) Read(path string) string {
	text, _ := os.ReadFile(p.File(path))
	return string(text)
}
