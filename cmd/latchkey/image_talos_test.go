package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs"
)

// TestTalosOnThisMachine: the volumes of a configuration of Talos are those
// of the partitions with their labels.
func TestTalosOnThisMachine(t *testing.T) {
	const uuid = "5ca1ab1e-0000-4000-8000-00000000d150"
	dir := t.TempDir()
	_, h := emptyVolume(t, filepath.Join(dir, "STATE"), uuid)
	if err := os.WriteFile(filepath.Join(dir, "EPHEMERAL"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	add := func(names ...string) (*initramfs.Config, error) {
		t.Helper()
		var text strings.Builder
		for _, n := range names {
			text.WriteString("---\nkind: VolumeConfig\nname: " + n + "\nencryption: {provider: luks2, keys: [{slot: 0, tpm: {}}]}\n")
		}
		path := filepath.Join(dir, "talos.yaml")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader("debug: true\n"))
		if err != nil {
			t.Fatal(err)
		}
		return c, addTalos(c, path, dir)
	}
	c, err := add("STATE")
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := p.Volumes[0].PinnedDigest()
	if sum := h.SubsetDigest(); err != nil || string(pinned) != string(sum[:]) || p.Volumes[0].UUID != uuid {
		t.Errorf("volume %+v, %v", p.Volumes[0], err)
	}
	if _, err := add("u-data"); err == nil || !strings.Contains(err.Error(), "volume u-data: this machine has no partition with that label") {
		t.Errorf("a partition that is not there: %v", err)
	}
	if _, err := add("EPHEMERAL"); err == nil || !strings.Contains(err.Error(), "volume EPHEMERAL: ") {
		t.Errorf("a partition that is no LUKS: %v", err)
	}
	if err := addTalos(c, filepath.Join(dir, "none.yaml"), dir); err == nil || !strings.Contains(err.Error(), "reading Talos' configuration") {
		t.Errorf("no file: %v", err)
	}
}
