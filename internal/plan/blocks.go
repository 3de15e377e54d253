package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// BlocksForm is what an init has in its bytes that loads modules from blocks.
const BlocksForm = "latchkey-modules-in-blocks-1"

// MaxBlock is how much a block holds at most, in bytes: a machine that boots
// with the least memory has several of them beside each other.
const MaxBlock = 8 << 20

// maxBlocks caps how many there are.
const maxBlocks = 4096

// A Block is a file of the image that holds modules one after the other,
// compressed by LZMA.
type Block struct {
	File string            // absolute, in the image
	Size int               // unpacked, in bytes
	Sum  [sha256.Size]byte // SHA-256 of what is unpacked
}

// A Part is where in a block a module is. The zero Part is none.
type Part struct{ Block, Offset, Size int }

// Packed tells whether the module is in a block.
func (m Module) Packed() bool { return m.Part.Size > 0 }

// encodeBlocks writes a line "b FILE SIZE SHA256" for each block, and "z
// MODULE BLOCK OFFSET SIZE" for each module that is in one.
func (m *Modules) encodeBlocks(b *bytes.Buffer) {
	for _, block := range m.Blocks {
		fmt.Fprintf(b, "b %s %d %x\n", block.File, block.Size, block.Sum)
	}
	for i, mod := range m.List {
		if mod.Packed() {
			fmt.Fprintf(b, "z %d %d %d %d\n", i, mod.Part.Block, mod.Part.Offset, mod.Part.Size)
		}
	}
}

func (m *Modules) decodeBlock(f []string) error {
	switch {
	case f[0] == "b" && len(f) == 4 && len(m.Blocks) < maxBlocks:
		size, err := strconv.Atoi(f[2])
		if err != nil || size < 1 || size > MaxBlock {
			return fmt.Errorf("not the size of a block: %q", f[2])
		}
		sum, err := hex.DecodeString(f[3])
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("not a SHA-256 of a block: %q", f[3])
		}
		m.Blocks = append(m.Blocks, Block{f[1], size, [sha256.Size]byte(sum)})
		return nil

	case f[0] == "z" && len(f) == 5:
		var n [4]int
		for i := range n {
			v, err := strconv.Atoi(f[i+1])
			if err != nil || v < 0 {
				return fmt.Errorf("not a number: %q", f[i+1])
			}
			n[i] = v
		}
		part := Part{n[1], n[2], n[3]}
		if n[0] >= len(m.List) || part.Block >= len(m.Blocks) || part.Size == 0 || part.Size > MaxBlock || part.Offset > m.Blocks[part.Block].Size-part.Size {
			return fmt.Errorf("no module is at %v of a block", n)
		}
		m.List[n[0]].Part = part
		return nil
	}
	return errors.New("not a block or a part of one (" + BlocksForm + ")")
}
