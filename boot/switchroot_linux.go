package boot

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// InitIn implements System. Links are resolved inside the root by
// openat2(2), RESOLVE_IN_ROOT: an absolute one must not lead out of it.
func (k *Kernel) InitIn(root, path string) (string, error) {
	fd, err := openIn(root, path, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return "", fmt.Errorf("looking for %s in the root: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("looking at %s in the root: %w", path, err)
	}

	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return "", fmt.Errorf("looking at %s in the root: not an executable file (mode %o)", path, st.Mode)
	}
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("resolving %s in the root: %w", path, err)
	}

	return strings.TrimPrefix(real, root), nil
}

func openIn(root, path string, flags int, resolve uint64) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, strings.TrimPrefix(path, "/"), &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve})
}

// SwitchRoot implements System, in the order of util-linux's
// switch_root(8) but with every check first: the pseudo file systems
// move into the root, the root becomes "/", the image is deleted (its
// memory is the machine's again) and init runs with the arguments that
// the kernel gave, ours before them.
func (k *Kernel) SwitchRoot(root, init string, args []string) error {
	if _, err := k.InitIn(root, init); err != nil {
		return err
	}
	old, err := os.Open("/")
	if err != nil {
		return err
	}
	defer old.Close()
	if err := isInitramfs(); err != nil {
		return err
	}

	// proc last: the others are reached through it.
	for _, dir := range []string{"dev", "sys", "run", "proc"} {
		if err := moveInto(root, dir); err != nil {
			return err
		}
	}

	if err := errors.Join(unix.Chdir(root), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("making %s the root: %w", root, err)
	}
	if err := deleteImage(old); err != nil {
		k.Log(Info, "deleting the image: "+err.Error())
	}

	argv := append(append([]string{init}, args...), os.Args[1:]...)
	return fmt.Errorf("running %s: %w", init, unix.Exec(init, argv, os.Environ()))
}

// isInitramfs makes sure that what will be deleted is an image in memory:
// TMPFS_MAGIC, RAMFS_MAGIC of include/uapi/linux/magic.h.
func isInitramfs() error {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return err
	}
	// On 32 bits the field is signed, and RAMFS_MAGIC is not.
	if t := uint32(st.Type); t != unix.TMPFS_MAGIC && t != unix.RAMFS_MAGIC {
		return fmt.Errorf("the root is not an initramfs (file system type %#x): deleting nothing", st.Type)
	}
	return nil
}

// moveInto moves the mount /dir into the root. If the root has no such
// folder, or a link in its place, the mount is left behind and detached.
func moveInto(root, dir string) error {
	fd, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return unix.Unmount("/"+dir, unix.MNT_DETACH)
	}
	defer unix.Close(fd)
	if err := unix.Mount("/"+dir, fmt.Sprintf("/proc/self/fd/%d", fd), "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving /%s into the root: %w", dir, err)
	}
	return nil
}

// deleteImage removes what is on the old root's own file system.
func deleteImage(old *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(old.Fd()), &st); err != nil {
		return err
	}
	return deleteBelow(int(old.Fd()), st.Dev)
}

func deleteBelow(dir int, dev uint64) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}

	f := os.NewFile(uintptr(fd), "image")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}

	var errs []error
	for _, name := range names {
		errs = append(errs, deleteOne(fd, name, dev))
	}
	return errors.Join(errs...)
}

func deleteOne(dir int, name string, dev uint64) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Dev != dev {
		return err // another file system's: left alone
	}

	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.Unlinkat(dir, name, 0)
	}
	sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	if err := deleteBelow(sub, dev); err != nil {
		return err
	}

	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
