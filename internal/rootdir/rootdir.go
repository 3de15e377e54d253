// Package rootdir finds the files of a system below a root directory as that
// system finds them: a symbolic link there leads to what is below the
// directory, also if it is absolute or climbs, as with chroot(2) or
// RESOLVE_IN_ROOT of openat2(2). What comes out is a name, for those who link
// and rename; whoever changes links there at the same time is not withstood.
package rootdir

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is MAXSYMLINKS of the kernel's include/linux/namei.h.
const maxLinks = 40

// loop stands for a name whose links have no end: below a device there is no
// file, and none can be made.
const loop = "/dev/null/too many levels of symbolic links"

// Path is where a file is, with all links on its way followed. Below "/" or ""
// it is the name itself: the kernel follows the links.
func Path(root, name string) string { return find(root, name, true) }

// Entry is Path of what is to be written or removed: a link that has that name
// itself is not followed.
func Entry(root, name string) string { return find(root, name, false) }

// Follow is Path of a file whose name has root before it, as listings of
// folders there give it. Others stay as they are.
func Follow(root, path string) string {
	name, below := strings.CutPrefix(path, filepath.Clean(root)+"/")
	if Here(root) || !below {
		return path
	}
	return Path(root, name)
}

// Here tells whether a root directory is the running system's.
func Here(root string) bool { return root == "" || filepath.Clean(root) == "/" }

func find(root, name string, last bool) string {
	if Here(root) {
		return filepath.Join(root, name)
	}
	at, left, links := "/", strings.Split(name, "/"), 0
	for len(left) > 0 {
		next := filepath.Join(at, left[0]) // clean: ".." ends at "/"
		left = left[1:]
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil || next == "/" || len(left) == 0 && !last {
			at = next // no link, or not there: opening it says so
			continue
		}
		if links++; links > maxLinks {
			return loop
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		left = append(strings.Split(target, "/"), left...)
	}
	return filepath.Join(root, at)
}
