package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/mapping"
)

// The later cloud-config wins; one that is broken is named, for an image is
// built once.
func TestAddKairos(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("10.yaml", "#cloud-config\ninstall: {encrypted_partitions: [COS_OEM]}\n")
	write("20.yaml", "#cloud-config\ninstall: {encrypted_partitions: [COS_PERSISTENT]}\nkcrypt: {nv_index: 0x1500001}\n")
	config := func() *initramfs.Config {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader("modules: {set: none}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := config()
	if err := addKairos(c, dir, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Plan(); err != nil || len(p.Volumes) != 1 || p.Volumes[0].UUID != mapping.KairosUUID("COS_PERSISTENT") || p.Kairos.NVIndex != 0x1500001 {
		t.Errorf("Plan = %v, %v, want COS_PERSISTENT by the TPM", p, err)
	}
	write("30.yaml", "#cloud-config\nkcrypt: {nv_index: perhaps}\n")
	if err := addKairos(config(), dir, t.TempDir()); err == nil || !strings.Contains(err.Error(), "30.yaml:2: kcrypt.nv_index") {
		t.Errorf("addKairos of a wrong file = %v, want it named", err)
	}
	write("30.yaml", "#cloud-config\ninstall: [\n")
	if err := addKairos(config(), dir, t.TempDir()); err == nil || !strings.Contains(err.Error(), "30.yaml:") {
		t.Errorf("addKairos of a broken file = %v, want it named", err)
	}
	write("30.yaml", "#cloud-config\nkcrypt: {remote_unlock: {public_key: x}}\n")
	if err := addKairos(config(), dir, t.TempDir()); err != nil {
		t.Errorf("addKairos with another program's keys = %v, want none of it", err)
	}
}
