package main

import (
	"os"
	"path/filepath"
)

// findInit looks for an init by its name.
func (o *imageBuild) findInit(name string) string {
	installed := filepath.Join("/usr/lib/latchkey", name)
	var places []string
	if o.system != "" {
		places = append(places, filepath.Join(o.system, installed))
	}
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), name))
	}
	for _, p := range places {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return installed
}
