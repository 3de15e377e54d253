package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// do carries out one test.do= of the command line.
func do(what string, console *os.File) error {
	name, arg, _ := strings.Cut(what, ":")
	switch name {
	case "status":
		return latchkey(console, "status")
	case "askagain":
		if err := network(); err != nil {
			return err
		}
		return latchkey(console, strings.Split("kms,get,"+arg, ",")...)

	case "run":
		return run(console, strings.Split(arg, ","))
	case "kexec":
		return kexec()
	case "hibernate":
		return hibernate(console, arg)
	case "gone":
		return gone(console, arg)
	case "wait":
		for { // select{} would be a deadlock: nothing else runs
			unix.Pause()
		}
	}
	return fmt.Errorf("there is no %q", name)
}

// latchkey runs the operator's command.
func latchkey(console *os.File, args ...string) error {
	return run(console, append([]string{"/sbin/latchkey"}, args...))
}

// run runs a program; what it says goes to the console. An argument @NAME
// is the disk of that serial number: which one is /dev/vda is not said.
func run(console *os.File, args []string) error {
	for i, arg := range args {
		if serial, ok := strings.CutPrefix(arg, "@"); ok {
			path, err := disk(serial)
			if err != nil {
				return err
			}
			args[i] = path
		}
	}

	// mkfs.btrfs takes descriptor 0 for none, and opens devices side by side.
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	p, err := os.StartProcess(args[0], append([]string{path.Base(args[0])}, args[1:]...), &os.ProcAttr{Files: []*os.File{nothing, console, console}, Env: os.Environ()})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err != nil {
		return err
	}
	fmt.Fprintf(console, "testroot: %s: exit %d\n", strings.Join(append([]string{path.Base(args[0])}, args[1:min(2, len(args))]...), " "), state.ExitCode())
	return nil
}

// disk is the device of a disk, by its serial number.
func disk(serial string) (string, error) {
	found, err := filepath.Glob("/sys/block/*/serial")
	if err != nil {
		return "", err
	}
	for _, at := range found {
		if strings.TrimSpace(read(at)) == serial {
			return "/dev/" + path.Base(path.Dir(at)), nil
		}
	}
	return "", fmt.Errorf("no disk has the serial number %q", serial)
}

// gone says that it waits for a disk to be taken out, and until it is.
func gone(console *os.File, name string) error {
	fmt.Fprintf(console, "testroot: waits for %s to go\n", name)
	for range 3000 { // a minute and a half
		if _, err := os.Stat("/sys/block/" + name); err != nil {
			return nil
		}
		time.Sleep(30 * time.Millisecond)
	}
	return fmt.Errorf("%s is still there", name)
}

// network gives the first Ethernet link a fixed address.
func network() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}

	for _, l := range links {
		if l.Attrs().EncapType != "ether" {
			continue
		}
		addr, err := netlink.ParseAddr("192.0.2.77/24")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrReplace(l, addr), netlink.LinkSetUp(l))
	}

	return errors.New("no Ethernet link")
}

// kexec starts the kernel of this root with the image that the script put
// beside it on the second disk, as an attacker with root could.
func kexec() error {
	kernel, err := os.Open("/boot/vmlinuz")
	if err != nil {
		return err
	}
	second, err := disk("disk1")
	if err != nil {
		return err
	}
	image, err := regular(second)
	if err != nil {
		return err
	}
	cmdline := strings.TrimSpace(strings.ReplaceAll(read("/proc/cmdline"), "test.do=kexec", ""))
	if err := unix.KexecFileLoad(int(kernel.Fd()), int(image.Fd()), cmdline, 0); err != nil {
		return fmt.Errorf("loading the kernel: %w", err)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
}

// regular is a copy of a device as a file: kexec takes no other
// (fs/kernel_read_file.c).
func regular(path string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := os.Create("/run/image")
	if err != nil {
		return nil, err
	}

	if _, err := io.Copy(to, from); err != nil {
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, err
	}

	return os.Open("/run/image") // one that is open for writing is busy
}
