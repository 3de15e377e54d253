package main

import (
	"testing"

	"latchkey/internal/plan"
)

// TestCheckPaths: that an image knows this machine's disks with several paths,
// which no configuration names, makes it no older.
func TestCheckPaths(t *testing.T) {
	wanted := &plan.Plan{
		Version: plan.Version, Volumes: []plan.Volume{{UUID: "11111111-2222-3333-4444-555555555555", Name: "root", Sources: []string{"prompt"}}},
		OnFail: plan.OnFail{Action: "reboot"},
	}
	image := *wanted
	image.Multipath = []plan.Multipath{{WWID: "36001405a", Name: "mpatha"}}
	file, err := image.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !samePlan(file, wanted) {
		t.Error("an image with the same plan is another one")
	}
	image.Root.ReadWrite = true
	if file, err = image.Encode(); err != nil || samePlan(file, wanted) {
		t.Errorf("an image with another plan is the same: %v", err)
	}
}
