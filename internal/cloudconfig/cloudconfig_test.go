package cloudconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/cloudconfig"
)

// write makes files below a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What a later file says wins, file by file in the order of their paths and
// directory by directory in theirs; old and new places of keys are the same;
// what is no cloud-config, or broken, says nothing.
func TestRead(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, first, map[string]string{
		"10_a.yaml":     "#cloud-config\nhostname: x\ninstall:\n  encrypted_partitions: [COS_OEM]\nkcrypt:\n  challenger:\n    challenger_server: http://a.local\n    mdns: \"true\"\n    nv_index: 0x1500001\n    tpm_device: /dev/a\n    legacy: false\n",
		"20_b.yml":      "#kairos-config\ninstall:\n  encrypted_partitions:\n  - COS_PERSISTENT\n  - data\nkcrypt:\n  nv_index: \"0x1500002\"\n  c_index: 0x81000009\n",
		"sub/30_c.yaml": "#node-config\nkcrypt: {challenger: {challenger_server: 'http://c.local', certificate: \"PEM\\n\"}}\n",
		"40_not.yaml":   "kcrypt: {challenger: {challenger_server: http://wrong}}\n",
		"50_not.txt":    "#cloud-config\nkcrypt: {challenger: {challenger_server: http://wrong}}\n",
		"60_bad.yaml":   "#cloud-config\nkcrypt: {challenger: {challenger_server: http://wrong, mdns: perhaps}}\n",
		"70_bad.yaml":   "#cloud-config\nkcrypt: [\n",
	})
	write(t, second, map[string]string{"a.yaml": "#cloud-config\nkcrypt: {tpm_device: /dev/b}\n"})
	var warned []string
	got := cloudconfig.Read([]string{first, filepath.Join(first, "none"), second}, func(err error) { warned = append(warned, err.Error()) })
	no := false
	want := cloudconfig.Config{Server: "http://c.local", MDNS: true, Certificate: "PEM\n", Legacy: &no, NVIndex: 0x1500002, CIndex: 0x81000009, TPMDevice: "/dev/b", Encrypted: []string{"COS_PERSISTENT", "data"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	if len(warned) != 2 || !strings.Contains(warned[0], "60_bad.yaml is left out: line 2: kcrypt.challenger.mdns is \"perhaps\"") || !strings.Contains(warned[1], "70_bad.yaml") {
		t.Errorf("warned of %q, want the two bad files", warned)
	}
}

func TestCommandLine(t *testing.T) {
	c := cloudconfig.Config{Server: "http://a.local"}
	if err := c.AddCommandLine("root=LABEL=COS_ACTIVE kcrypt.challenger.challenger_server=https://b.local:8443/x kcrypt.challenger.mdns=true quiet"); err != nil || c.Server != "https://b.local:8443/x" || !c.MDNS {
		t.Errorf("AddCommandLine = %+v, %v", c, err)
	}
	if err := c.AddCommandLine("kcrypt.challenger.mdns=perhaps"); err == nil {
		t.Error("AddCommandLine took mdns=perhaps")
	}
}

// Numbers are handles, and files that are too large are no configuration.
func TestBad(t *testing.T) {
	for _, text := range []string{"nv_index: 0", "nv_index: x", "c_index: -1", "c_index: 0x100000000"} {
		var c cloudconfig.Config
		if err := c.Add([]byte("#cloud-config\nkcrypt: {challenger_server: x, " + text + "}\n")); err == nil || c.Server != "" {
			t.Errorf("Add(%q) = %+v, %v, want an error", text, c, err)
		}
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.yaml": "#cloud-config\nkcrypt: {tpm_device: /dev/a}\n" + strings.Repeat("#", 1<<20)})
	var warned error
	if c := cloudconfig.Read([]string{dir}, func(err error) { warned = err }); c.TPMDevice != "" || warned == nil {
		t.Errorf("Read of a large file = %+v, %v, want nothing and a warning", c, warned)
	}
}
