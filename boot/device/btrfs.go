package device

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scanDevice is BTRFS_IOC_SCAN_DEV, and volumeArgs its argument, struct
// btrfs_ioctl_vol_args: include/uapi/linux/btrfs.h.
const scanDevice = 0x50009404

type volumeArgs struct {
	fd   int64
	name [4088]byte
}

// Join tells btrfs that a device holds a part of a file system, so that
// mounting another part finds it. The module must be there.
func Join(path string) error {
	args := &volumeArgs{}
	if copy(args.name[:len(args.name)-1], path) < len(path) {
		return fmt.Errorf("telling btrfs of %.80s: the path is too long", path)
	}
	f, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("telling btrfs of %s: %w (is the module btrfs in the image?)", path, err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), scanDevice, uintptr(unsafe.Pointer(args))); errno != 0 {
		return fmt.Errorf("telling btrfs of %s: %w", path, errno)
	}
	return nil
}
