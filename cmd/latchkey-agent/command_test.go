package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A hook that names the wrong folder must not take it for one that is in
// order.
func TestCheckOfNoFolder(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: "", filepath.Join(dir, "gone"): "gone is no folder of an image"} {
		c := checkCommand()
		c.SetArgs([]string{path})
		c.SilenceErrors, c.SilenceUsage = true, true
		err := c.Execute()
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("check %s = %v, want %q", path, err, want)
		}
	}
}
