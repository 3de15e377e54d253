package worker

import (
	"errors"
	"io"
	"slices"

	"latchkey/boot/device"
	"latchkey/internal/mapping"
	"latchkey/unlock/dm"
	"latchkey/unlock/lvm"
	"latchkey/unlock/md"
)

// content is what is in one opened volume, or in an array on such volumes.
type content struct {
	name     string // of the mapping; of an array, the path of its node
	disk     *disk  // nil for an array
	readOnly bool   // so is what lies on it
	super    device.Super
	pv       *lvm.PV // if it is one, and not damaged
	probed   probed  // as a member of an array
	err      error   // why it cannot be read
}

// probe reads the beginning of a volume, and all of a physical volume's
// metadata. Its file stays open for what is in the logical volumes.
func (in *inside) probe(c *content, blocks []device.Block) error {
	path := mapping.Path(c.name)
	f, err := in.worker.sys.Open(path, false)
	if err != nil {
		return err
	}
	in.files = append(in.files, f)
	b, err := in.block(c.name, blocks)
	if err != nil {
		return err
	}
	b.Path = path
	if c.probed.block = b; isMember(&c.probed, f) {
		c.super = c.probed.super
		return nil
	}
	if c.super, _ = device.Probe(f); c.super.Type == memberType {
		c.pv, err = lvm.Read(f, c.name, b.SizeBytes)
	}
	return err
}

// block is the block device of a volume or an array.
func (in *inside) block(name string, blocks []device.Block) (device.Block, error) {
	number, ok := in.worker.sys.Number(mapping.Path(name))
	if !ok {
		return device.Block{}, errors.New("it is no block device")
	}
	i := slices.IndexFunc(blocks, func(b device.Block) bool { return number == dm.Number{Major: b.Major, Minor: b.Minor} })
	if i < 0 {
		return device.Block{}, errors.New("the kernel does not list it")
	}
	return blocks[i], nil
}

// contentOf tells what is in a logical volume. A member of an array is nothing else,
// whatever it seems to hold: each half of a mirror begins with what the mirror
// holds, and whoever mounts one half destroys the mirror.
func contentOf(r io.ReaderAt, name string, sizeBytes int64) device.Super {
	if _, err := md.Read(r, name, sizeBytes); !errors.Is(err, md.ErrNone) {
		return device.Super{Type: arrayType}
	}
	super, _ := device.Probe(r)
	return super
}
