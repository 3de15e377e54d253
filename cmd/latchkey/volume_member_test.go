package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/md/mdtest"
)

// halfOfMirror writes a device with a superblock of a version at its end, and
// the header of the mirror's volume at its beginning.
func halfOfMirror(t *testing.T, dir, version string) string {
	t.Helper()
	const size = 4 << 20
	path := filepath.Join(dir, "half")
	b := mdtest.Member{Version: version, Level: 1, Places: 2, Bytes: size + 1<<20, Data: make([]byte, size)}.Device()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	key := luks2.NewKey{Passphrase: secret.Own([]byte(strings.Repeat("k", 32))), Random: true}
	if _, _, err := luks2.Format(f, luks2.NewVolume{SizeBytes: size, OffsetBytes: 2 << 20}, key); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMember: what writes to a half of a mirror is refused, and nothing is
// written; what reads says so. No command on a volume is left out.
func TestMember(t *testing.T) {
	dir := t.TempDir()
	name := func(n string) string { return filepath.Join(dir, n) }
	key, other := name("key"), name("other")
	for path, text := range map[string]string{key: strings.Repeat("k", 32), other: strings.Repeat("o", 32)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writers := map[string][]string{
		"add-key":         {"--key-file", key, "--new-key-file", other},
		"remove-key":      {"--key-file", key, "--slot", "0"},
		"recovery-key":    {"--key-file", key},
		"repair":          {},
		"wipe":            {"--uuid", "x"},
		"rotate":          {"--key-file", key},
		"reseal":          {"--pcr", "7=" + strings.Repeat("00", 32)},
		"restore-header":  {},
		"enroll-tpm":      {"--key-file", key},
		"enroll-together": {"--key-file", key, "--of", "systemd-tpm2,key-file", "--part-file", key},
	}
	readers := map[string][]string{
		"inspect":       {},
		"test":          {"--key-file", key},
		"status":        {},
		"backup-header": {},
	}
	others := []string{
		"format", "encrypt", // they overwrite what is there, and prove first that it is nothing
		"close",                                    // a mapping
		"sync", "enroll", "open", "prove-recovery", // they need a report, a key server, a block device: TestMemberOpened
	}

	run := func(command string, args []string, path string) (int, string) {
		line := append([]string{"volume", command}, args...)
		line = append(line, path)
		switch command {
		case "backup-header":
			line = append(line, path+".header")
		case "restore-header":
			line = append(line, name("saved"))
		}
		var out bytes.Buffer
		code := cli.Main(root(), line, &out, &out)
		return code, out.String()
	}

	for _, version := range []string{"1.0", "0.90"} {
		half := halfOfMirror(t, dir, version)
		before, err := os.ReadFile(half)
		if err != nil {
			t.Fatal(err)
		}
		const words = "is a member of the array " + mdtest.UUID + ": use /dev/md"
		for command, args := range writers {
			if code, out := run(command, args, half); code != cli.Rejected || !strings.Contains(out, words) {
				t.Errorf("%s: %s ends with %d: %s", version, command, code, out)
			}
		}
		for command, args := range readers {
			if code, out := run(command, args, half); code != 0 || !strings.Contains(out, words) {
				t.Errorf("%s: %s ends with %d: %s", version, command, code, out)
			}
			os.Remove(half + ".header")
		}
		if after, err := os.ReadFile(half); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: something was written (%v)", version, err)
		}
	}

	for _, c := range volumeCommand().Commands() {
		if writers[c.Name()] == nil && readers[c.Name()] == nil && !slices.Contains(others, c.Name()) {
			t.Errorf("volume %s: does it write to a half of a mirror?", c.Name())
		}
	}
}

// TestMemberOpened: whoever opens a device to change it is told, with the
// header or without.
func TestMemberOpened(t *testing.T) {
	half := halfOfMirror(t, t.TempDir(), "1.0")
	if f, err := openToChange(half); err == nil || !strings.Contains(err.Error(), "member of the array") {
		t.Errorf("openToChange = %v, %v", f, err)
	}
	if _, _, err := changeVolume(half); err == nil || !strings.Contains(err.Error(), "member of the array") {
		t.Errorf("changeVolume: %v", err)
	}
	var e enrollment
	if err := e.unlock(t.Context(), half, ""); err == nil || !strings.Contains(err.Error(), "member of the array") {
		t.Errorf("unlocking to enroll: %v", err)
	}
	o := openVolume{keyFile: half}
	if err := o.run(t.Context(), volumeOpenCommand(), half, "x", nil); err == nil || !strings.Contains(err.Error(), "member of the array") {
		t.Errorf("open: %v", err)
	}
}
