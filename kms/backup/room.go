package backup

import (
	"fmt"
	"os"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// reserve is what a copy leaves free on its disk, in bytes: without room for
// the audit log the key server releases nothing.
const reserve = 64 << 20

// lookEvery is after how many bytes the room is looked at again.
const lookEvery = 4 << 20

// A roomy writes to a file while the disk has room for others.
type roomy struct {
	f    *os.File
	left int // bytes until the next look
}

func (r *roomy) Write(b []byte) (int, error) {
	if r.left -= len(b); r.left < 0 {
		r.left = lookEvery
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(r.f.Fd()), &st); err != nil {
			return 0, err
		}
		if free := st.Bavail * uint64(st.Bsize); free < reserve+uint64(len(b)) {
			return 0, fmt.Errorf("its disk has only %s left, which the server needs itself; name a directory on another disk: backup.scratch", humanize.IBytes(free))
		}
	}
	return r.f.Write(b)
}
