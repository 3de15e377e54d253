package control_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/unlock/md/control"
)

// TestStop: an array is cleared, and one that is in use is an error.
func TestStop(t *testing.T) {
	root := sysfs(t, map[string]string{"md127": "clean"})
	var wrote string
	write := func(path, text string) error { wrote = path + " " + text; return nil }
	if err := control.StopWith(root, write, "md127"); err != nil || wrote != filepath.Join(root, "block/md127/md/array_state")+" clear" {
		t.Errorf("Stop = %v and wrote %q", err, wrote)
	}
	busy := func(string, string) error { return os.ErrDeadlineExceeded }
	if err := control.StopWith(root, busy, "md127"); !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "stopping array md127: ") {
		t.Errorf("Stop of one that is in use = %v", err)
	}
}
