package mapping_test

import (
	"testing"

	"latchkey/internal/mapping"
)

// TestPath: what has the form of an array's node is one, and everything else
// the name of a mapping.
func TestPath(t *testing.T) {
	for name, want := range map[string]string{
		"root": "/dev/mapper/root", "md127": "/dev/mapper/md127", "/dev/md127": "/dev/md127", "/dev/md0": "/dev/md0", "/dev/md": "/dev/mapper//dev/md",
		"/dev/md/root": "/dev/mapper//dev/md/root", "/dev/md1p1": "/dev/mapper//dev/md1p1", "/dev/md../sda": "/dev/mapper//dev/md../sda", "/dev/md12345678": "/dev/mapper//dev/md12345678",
	} {
		if got := mapping.Path(name); got != want || mapping.IsArray(name) != (got == name) {
			t.Errorf("Path(%q) = %q, want %q", name, got, want)
		}
	}
}
