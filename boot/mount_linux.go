package boot

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount implements System. The target is made if it is not there, but in the
// root: there it is a folder, and no link leads out of the root.
func (k *Kernel) Mount(m Mount) error {
	if dir, ok := strings.CutPrefix(m.Target, sysroot+"/"); ok {
		fd, err := openIn(sysroot, dir, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return fmt.Errorf("looking for the folder /%s in the root: %w", dir, err)
		}
		defer unix.Close(fd)
		m.Target = fmt.Sprintf("/proc/self/fd/%d", fd)
	} else if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	var flags uintptr
	for _, f := range m.Flags {
		flags |= mountFlag(f)
	}
	return unix.Mount(m.Source, m.Target, m.Type, flags, m.Data)
}

// Unmount implements System.
func (k *Kernel) Unmount(target string) error { return unix.Unmount(target, 0) }

func mountFlag(name string) uintptr {
	switch name {
	case "ro":
		return unix.MS_RDONLY
	case "nosuid":
		return unix.MS_NOSUID
	case "nodev":
		return unix.MS_NODEV

	case "noexec":
		return unix.MS_NOEXEC
	case "noatime":
		return unix.MS_NOATIME
	case "nodiratime":
		return unix.MS_NODIRATIME

	case "relatime":
		return unix.MS_RELATIME
	case "strictatime":
		return unix.MS_STRICTATIME
	case "lazytime":
		return unix.MS_LAZYTIME

	case "sync":
		return unix.MS_SYNCHRONOUS
	case "dirsync":
		return unix.MS_DIRSYNC
	}
	return 0
}
