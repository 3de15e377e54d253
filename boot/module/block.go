package module

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"latchkey/internal/lzma"
	"latchkey/internal/plan"
)

// A block is one of the image's, unpacked when its first module is wanted.
// It stays so: what needs one driver of a folder often needs another.
type block struct {
	once sync.Once
	data []byte
	err  error
}

// errSum: the kernel would take what is not the module.
var errSum = errors.New("its checksum is another (build the image again)")

// unpacked is what a block holds.
func (l *Loader) unpacked(n int) ([]byte, error) {
	b, of := &l.blocks[n], l.index.Blocks[n]
	b.once.Do(func() {
		file, err := os.ReadFile(of.File)
		if err != nil {
			b.err = fmt.Errorf("reading what it is in: %w", err)
			return
		}
		data, err := lzma.Decode(file, of.Size)
		if err == nil && sha256.Sum256(data) != of.Sum {
			err = errSum
		}
		if err != nil {
			b.err = fmt.Errorf("unpacking %s: %w", of.File, err)
			return
		}
		b.data = data
	})
	return b.data, b.err
}

// insertPart gives the kernel a module of a block: as a file beside the
// block, on the file system that all modules are on (security/loadpin), and
// with a name of this process, since two load modules.
func (l *Loader) insertPart(m plan.Module) error {
	data, err := l.unpacked(m.Part.Block)
	if err != nil {
		return err
	}
	dir := filepath.Dir(l.index.Blocks[m.Part.Block].File)
	path := filepath.Join(dir, m.Name()+"."+strconv.Itoa(os.Getpid())+".ko")
	defer os.Remove(path)
	if err := os.WriteFile(path, data[m.Part.Offset:m.Part.Offset+m.Part.Size], 0o600); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	return l.insert(path, m.Params)
}
