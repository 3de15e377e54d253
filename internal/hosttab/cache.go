package hosttab

import "path/filepath"

// HasCaches tells whether anything lies behind a cache of bcache.
func (h Host) HasCaches() bool {
	found, _ := filepath.Glob(filepath.Join(h.Root, "/sys/block/bcache*"))
	return len(found) > 0
}
