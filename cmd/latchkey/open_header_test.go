package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// What a boot by the plan refuses of a header, open refuses; a header whose
// payload is elsewhere is not mapped over itself.
func TestOpenHeaders(t *testing.T) {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("cryptsetup, the oracle, is not installed")
	}
	b := &bench{t: t, lab: &lab{dir: t.TempDir()}, key: secret.Random(32)}
	key := filepath.Join(b.dir, "key")
	b.check(os.WriteFile(key, b.key.Reveal(), 0o600))
	made := func(name string, args ...string) string {
		path := filepath.Join(b.dir, name)
		b.check(errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 20<<20)))
		args = append([]string{"luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", key}, args...)
		if out, err := exec.Command("cryptsetup", append(args, path)...).CombinedOutput(); err != nil {
			t.Fatalf("cryptsetup: %v: %s", err, out)
		}
		return path
	}

	old := made("old", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256")
	_, h, err := readVolume(old)
	b.check(err)
	for accept, opens := range map[string]bool{"": false, ", accept: cryptsetup": true} {
		file := filepath.Join(b.dir, "plan.yaml")
		b.check(os.WriteFile(file, []byte("volumes: [{uuid: "+h.UUID()+", name: data"+accept+", sources: [key-file: {path: "+key+"}]}]\n"), 0o600))
		got, _, err := b.open(openVolume{plan: file}, old, "")
		if (got != nil) != opens || !opens && (codes.Of(err) != "header-rejected" || exitCode(err) != cli.Rejected) {
			t.Errorf("aes-cbc-essiv%s: mapped %v, %v", accept, got, err)
		}
	}

	header := filepath.Join(b.dir, "header")
	b.check(errors.Join(os.WriteFile(header, nil, 0o600), os.Truncate(header, 16<<20)))
	made("payload", "--header", header)
	if got, _, err := b.open(openVolume{keyFile: key}, header, "data"); got != nil || err == nil || !strings.Contains(err.Error(), "has the header alone") {
		t.Errorf("a header alone: mapped %v, %v", got, err)
	}
}

// Sources whose keyslots the header does not tell are not said to open
// nothing, and nothing is said to be of no use beside them.
func TestUnseenSources(t *testing.T) {
	_, h := owned(t, "enrolled")
	v := plan.Volume{UUID: h.UUID(), Name: "root", Sources: []string{plan.SourceKairos, plan.SourcePrompt}}
	all := sourcesOf(&plan.Plan{Volumes: []plan.Volume{v}}, v, h)
	if len(all) != 2 || all[0].What != unseen || len(all[0].Keyslots) != 0 || len(all[1].Keyslots) == 0 {
		t.Errorf("sourcesOf = %+v, want %s not to be seen", all, plan.SourceKairos)
	}
	var out synced
	s := &syncing{disk: mustDisk(t), sizeBytes: syncSize, plan: &plan.Plan{}, volume: v, try: true}
	if err := s.missing(&out); err != nil || len(out.Left) != 0 {
		t.Errorf("missing = %q, %v, want nothing", out.Left, err)
	}
}

// mustDisk is a volume of owned's alone.
func mustDisk(t *testing.T) luks2.Storage {
	t.Helper()
	d, _ := owned(t, "enrolled")
	return d
}
