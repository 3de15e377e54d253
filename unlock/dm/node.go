package dm

import (
	"fmt"

	"golang.org/x/sys/unix"

	"latchkey/unlock/dm/control"
)

// blockDevice returns the number of the block device at path.
func blockDevice(path string) (Number, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Number{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Number{}, unix.ENOTBLK
	}
	return Number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}, nil
}

// makeNode makes /dev/mapper/name when no udev has: the link that udev
// would make to the node of devtmpfs, so that the real root's udev finds
// what it expects, or else a node of its own.
func makeNode(name string, dev uint64) error {
	if linksTo(control.NodeDir+name, dev) {
		return nil
	}
	if err := control.RemoveNode(name); err != nil {
		return err
	}

	kernel := fmt.Sprintf("dm-%d", unix.Minor(dev))
	var err error
	if linksTo("/dev/"+kernel, dev) {
		err = unix.Symlink("../"+kernel, control.NodeDir+name)
	} else {
		err = unix.Mknod(control.NodeDir+name, unix.S_IFBLK|0o600, int(dev))
	}
	if err == unix.EEXIST && linksTo(control.NodeDir+name, dev) {
		return nil // udev was faster
	}
	if err != nil {
		return fmt.Errorf("making %s%s: %w", control.NodeDir, name, err)
	}

	return nil
}

func linksTo(path string, dev uint64) bool {
	n, err := blockDevice(path)
	return err == nil && n == Number{unix.Major(dev), unix.Minor(dev)}
}
