package agent

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownFolder makes a folder for sockets, or takes the one that is there. Who
// can write to it could have our sockets in a place of their own, and others
// that look like ours in theirs.
func ownFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder: remove it", path)
	case !ours(info) || info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written to by others than root: remove it, or chmod 0700 and chown root", path)
	}
	return nil
}

// ours tells whether a file is of the user whose agent this is: root.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == uint32(os.Geteuid())
}

// isSocket tells whether there is a socket of ours, and no link to one.
func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket && ours(info)
}
