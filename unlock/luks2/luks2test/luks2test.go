// Package luks2test is a disk in memory whose power is cut at every moment.
package luks2test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Disk is luks2.Storage in memory.
type Disk []byte

// ReadAt implements io.ReaderAt.
func (d Disk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(p, off) }

// WriteAt implements io.WriterAt; the disk does not grow.
func (d Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d)) {
		return 0, io.ErrShortWrite
	}
	return copy(d[off:], p), nil
}

// Sync implements luks2.Storage.
func (Disk) Sync() error { return nil }

// A Recorder is a disk that keeps what was written in which order. Writes
// up to a sync are durable; those behind it may be lost or torn.
type Recorder struct {
	Disk
	Ops []Op
}

// An Op is a write, or a sync.
type Op struct {
	Data []byte
	At   int64
	Sync bool
}

// WriteAt implements io.WriterAt.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	r.Ops = append(r.Ops, Op{Data: slices.Clone(p), At: off})
	return r.Disk.WriteAt(p, off)
}

// Sync implements luks2.Storage.
func (r *Recorder) Sync() error {
	r.Ops = append(r.Ops, Op{Sync: true})
	return nil
}

// Cuts yields each state in which a power cut may leave the disk: every
// subset of the writes that were not synced, the last of them torn at
// sector boundaries, in either order of its sectors.
func (r *Recorder) Cuts(base Disk, state func(name string, d Disk)) {
	durable := slices.Clone(base)
	var pending []Op
	state("before", slices.Clone(durable))
	for i, o := range r.Ops {
		if o.Sync {
			for _, p := range pending {
				copy(durable[p.At:], p.Data)
			}
			pending = nil
			state(fmt.Sprintf("op %d: synced", i), slices.Clone(durable))
			continue
		}

		pending = append(pending, o)
		for subset := range 1 << len(pending) {
			d := slices.Clone(durable)
			for bit, p := range pending {
				if subset&(1<<bit) != 0 {
					copy(d[p.At:], p.Data)
				}
			}
			state(fmt.Sprintf("op %d: subset %b", i, subset), d)
		}

		for _, at := range tears(len(o.Data)) {
			head, tail := slices.Clone(durable), slices.Clone(durable)
			copy(head[o.At:], o.Data[:at])
			copy(tail[o.At+int64(at):], o.Data[at:])
			state(fmt.Sprintf("op %d: first %d bytes", i, at), head)
			state(fmt.Sprintf("op %d: all but the first %d bytes", i, at), tail)
		}
	}
}

// tears are where a write of size bytes is torn: in a header copy behind
// and before its checksum, in its JSON text and in the zeros behind that.
func tears(size int) []int {
	const hdrSize = 16 << 10
	if size > hdrSize {
		return []int{size / 2 &^ 511}
	}
	return []int{512, 4096, 4608, 8192}
}
