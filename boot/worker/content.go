package worker

import (
	"errors"
	"io"
	"slices"

	"latchkey/boot/device"
	"latchkey/unlock/dm"
	"latchkey/unlock/lvm"
	"latchkey/unlock/md"
)

// probe reads the beginning of a volume, and all of a physical volume's
// metadata. Its file stays open for what is in the logical volumes.
func (in *inside) probe(c *content, blocks []device.Block) (*lvm.PV, error) {
	path := "/dev/mapper/" + c.disk.Name
	f, err := in.worker.sys.Open(path, false)
	if err != nil {
		return nil, err
	}
	in.files = append(in.files, f)
	number, ok := in.worker.sys.Number(path)
	if !ok {
		return nil, errors.New("it is no block device")
	}
	i := slices.IndexFunc(blocks, func(b device.Block) bool { return number == dm.Number{Major: b.Major, Minor: b.Minor} })
	if i < 0 {
		return nil, errors.New("the kernel does not list it")
	}
	if c.super = contentOf(f, path, blocks[i].SizeBytes); c.super.Type != memberType {
		return nil, nil
	}
	return lvm.Read(f, c.disk.Name, blocks[i].SizeBytes)
}

// contentOf tells what is in a volume. A member of an array is nothing else,
// whatever it seems to hold: each half of a mirror begins with what the mirror
// holds, and whoever mounts one half destroys the mirror.
func contentOf(r io.ReaderAt, name string, sizeBytes int64) device.Super {
	if _, err := md.Read(r, name, sizeBytes); !errors.Is(err, md.ErrNone) {
		return device.Super{Type: arrayType}
	}
	super, _ := device.Probe(r)
	return super
}
