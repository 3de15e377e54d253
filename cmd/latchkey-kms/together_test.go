package main

import (
	"strings"
	"testing"
)

// The manual of each command that several people may have to say has the exit
// code of one that is not done yet; there is such a command, and the manual of
// one that a person does alone says nothing of it.
func TestTogetherIsSaid(t *testing.T) {
	root := newRoot()
	for _, path := range together {
		c, _, err := root.Find(strings.Fields(path))
		if err != nil || c.CommandPath() != root.Name()+" "+path {
			t.Errorf("there is no command %q: %v", path, err)
			continue
		}
		if !strings.Contains(c.Long, "exit code 5") {
			t.Errorf("the manual of %s does not have exit code 5", path)
		}
	}
	if c, _, err := root.Find([]string{"node", "quarantine"}); err != nil || strings.Contains(c.Long, "exit code 5") {
		t.Errorf("one person stops a machine: %v", err)
	}
}
