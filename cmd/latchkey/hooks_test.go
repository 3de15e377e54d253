package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFwupdUnits: the units are right by systemd's own word; the path unit
// watches the variables that fwupd has updates done by, and starts what
// announces, where that is wanted.
func TestFwupdUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	units := map[string]map[string][]string{}
	var args []string
	for _, name := range []string{"latchkey-announce.path", "latchkey-announce.service"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "images", "hooks", "fwupd", name))
		if err != nil {
			t.Fatal(err)
		}
		units[name] = settingsOf(string(text))
		here := strings.Replace(string(text), "/usr/bin/latchkey ", self+" ", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(dir, name))
		if !slices.Contains(units[name]["ConditionPathExists"], "/etc/latchkey/announce") {
			t.Errorf("%s runs where nobody wants announcements", name)
		}
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, args...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}

	// UEFI 2.10, sections 3.3 and 32.4.1.
	const global, image = "-8be4df61-93ca-11d2-aa0d-00e098032b8c", "-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	watched := units["latchkey-announce.path"]["PathChanged"]
	for _, variable := range []string{"BootNext" + global, "OsIndications" + global, "KEK" + global, "db" + image, "dbx" + image} {
		if !slices.Contains(watched, "/sys/firmware/efi/efivars/"+variable) {
			t.Errorf("the path unit watches %q, and not %s", watched, variable)
		}
	}
	command := strings.Fields(units["latchkey-announce.service"]["ExecStart"][0])
	if got := strings.Join(command, " "); got != "/usr/bin/latchkey release announce --if-allowed" {
		t.Errorf("the service runs %q", got)
	}
}

// settingsOf are a unit's settings: all values of each.
func settingsOf(unit string) map[string][]string {
	settings := map[string][]string{}
	for line := range strings.Lines(unit) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}
