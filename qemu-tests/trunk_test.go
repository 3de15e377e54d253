package qemutests

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A trunk is a switch's port between a machine and the LAN on which only
// tagged frames pass, as the host's kernel may know no VLANs: it takes the
// tag off what the machine sends and puts it on what the LAN sends.
type trunk struct {
	vlan    uint16
	machine *net.UnixConn
	from    *net.UnixAddr // where QEMU listens
	lan     *os.File      // a tap
}

// trunk lays a cable to a trunk port, and returns QEMU's netdev for it.
func (l *lan) trunk(dir string, vlan uint16) (*trunk, string, error) {
	tap, err := l.tap()
	if err != nil {
		return nil, "", err
	}

	t := &trunk{vlan: vlan, from: &net.UnixAddr{Name: filepath.Join(dir, tap+".nic"), Net: "unixgram"}}
	ours := filepath.Join(dir, tap+".port")
	for _, path := range []string{t.from.Name, ours} {
		os.Remove(path) // of an earlier boot
	}
	if t.machine, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"}); err != nil {
		return nil, "", err
	}

	err = l.inside(func() (err error) {
		t.lan, err = openTap(tap)
		return err
	})
	if err != nil {
		t.machine.Close()
		return nil, "", err
	}

	go t.untag()
	go t.tag()
	return t, fmt.Sprintf("dgram,id=trunk,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", t.from.Name, ours), nil
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (t *trunk) close() {
	t.machine.Close()
	t.lan.Close()
}

const (
	macs   = 12 // both addresses
	dot1q  = 0x8100
	vlanID = 0x0fff
)

// untag passes on what the machine sends with the tag; the rest is dropped.
func (t *trunk) untag() {
	frame := make([]byte, 65536)
	for {
		n, err := t.machine.Read(frame)
		if err != nil {
			return
		}
		if n < macs+6 || binary.BigEndian.Uint16(frame[macs:]) != dot1q || binary.BigEndian.Uint16(frame[macs+2:])&vlanID != t.vlan {
			continue
		}
		t.lan.Write(append(frame[:macs:macs], frame[macs+4:n]...))
	}
}

// tag passes on what the LAN sends, with the tag.
func (t *trunk) tag() {
	frame := make([]byte, 65536)
	for {
		n, err := t.lan.Read(frame)
		if err != nil {
			return
		}
		if n < macs+2 {
			continue
		}
		out := binary.BigEndian.AppendUint16(frame[:macs:macs], dot1q)
		out = binary.BigEndian.AppendUint16(out, t.vlan)
		t.machine.WriteToUnix(append(out, frame[macs:n]...), t.from)
	}
}
