package initramfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"

	"latchkey/internal/plan"
)

// WriteAgent writes what the agent needs in others' early boot, besides itself
// and its modules, below the folder that becomes their image: the plan, and the
// key files and headers that an image holds.
func WriteAgent(dir string, c *Config) (p *plan.Plan, warnings []string, err error) {
	if p, err = c.Plan(); err != nil {
		return nil, nil, err
	}
	a := &archive{map[string]cpio.Record{}}
	if warnings, err = addKeys(a, c, p); err != nil {
		return nil, nil, c.locate(err)
	}
	if err := addHeaders(a, c, p); err != nil {
		return nil, nil, c.locate(err)
	}
	file, err := p.Encode()
	if err != nil {
		return nil, nil, err
	}
	a.file("plan.json", file, 0o644)
	return p, warnings, a.unpack(dir)
}

// unpack writes the files below a folder. A file that is there is replaced.
func (a *archive) unpack(dir string) error {
	for name, r := range a.records {
		if r.Mode&cpio.S_IFMT != cpio.S_IFREG {
			continue
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		os.Remove(to)
		data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, os.FileMode(r.Mode&0o777)); err != nil {
			return fmt.Errorf("writing what the agent needs: %w", err)
		}
	}
	return nil
}
