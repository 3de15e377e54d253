package luks2_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

func evidence(t *testing.T, d disk, slot int) [32]byte {
	t.Helper()
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := h.Evidence(d, slot)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// slotArea is where the keyslot's area begins.
func slotArea(t *testing.T, d disk, slot int) int {
	t.Helper()
	m := regexp.MustCompile(`"` + strconv.Itoa(slot) + `":\{"type":"luks2".*?"offset":"(\d+)"`).FindSubmatch(d[jsonStart:hdrSize])
	if m == nil {
		t.Fatal("the header has no such keyslot")
	}
	at, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The evidence of a keyslot stays while others come and go and tokens change,
// and is another once a byte of it is, on the disk or in the header.
func TestEvidence(t *testing.T) {
	h, key, d := format(t)
	h, slot, err := h.AddKey(d, key, typed("typed"))
	if err != nil {
		t.Fatal(err)
	}
	before := evidence(t, d, slot)
	if evidence(t, d, 0) == before {
		t.Error("two keyslots have one evidence")
	}
	h, more, err := h.AddKey(d, key, typed("another"))
	if err != nil {
		t.Fatal(err)
	}
	if h, _, err = h.SetToken(d, 7, []byte(`{"type":"x","keyslots":["1"]}`)); err != nil {
		t.Fatal(err)
	}
	if h, err = h.RemoveKey(d, more); err != nil {
		t.Fatal(err)
	}
	if evidence(t, d, slot) != before {
		t.Error("the evidence changed with another keyslot and a token")
	}
	if _, err := h.Evidence(d, more); !errors.Is(err, luks2.ErrNoSlot) {
		t.Errorf("Evidence of a keyslot that is gone = %v, want %v", err, luks2.ErrNoSlot)
	}
	if _, err := h.Evidence(strings.NewReader(""), slot); !errors.Is(err, io.EOF) {
		t.Errorf("Evidence of a disk that cannot be read = %v, want %v", err, io.EOF)
	}

	for name, change := range map[string]func(disk){
		"a byte of the area": func(d disk) { d[slotArea(t, d, slot)+100] ^= 1 },
		"a parameter": func(d disk) {
			rewriteJSON(t, d, func(s string) string { return strings.Replace(s, `"memory":64`, `"memory":65`, 1) })
		},
		"the digest": func(d disk) {
			rewriteJSON(t, d, func(s string) string { return strings.Replace(s, `"iterations":1000`, `"iterations":1001`, 2) })
		},
	} {
		other := append(disk(nil), d...)
		change(other)
		if evidence(t, other, slot) == before {
			t.Errorf("with %s changed, the evidence is the same", name)
		}
	}
}

// What cryptsetup does to other keyslots and tokens leaves the evidence as it
// is, though it writes the whole JSON anew; another key in the keyslot does not.
//
// compatible: Disks | cryptsetup (Debian 12) | the proof of a recovery key outlives what it does to other keyslots
func TestEvidenceBesideCryptsetup(t *testing.T) {
	path := luksFormat(t, pbkdf2Slot()...)
	h, image := readImage(t, path)
	key, _, err := unlock(h, disk(image), passphrase, 0)
	if err != nil {
		t.Fatal(err)
	}
	made := typed("typed by a person")
	made.Token = func(int) json.RawMessage {
		return json.RawMessage(`{"type":"systemd-recovery","keyslots":["1"],"latchkey-sealed":"00"}`)
	}
	if _, slot, err := h.AddKey(disk(image), key, made); err != nil || slot != 1 {
		t.Fatalf("AddKey = slot %d, %v, want 1", slot, err)
	}
	before := evidence(t, image, 1)
	path = save(t, image)
	other, changed := filepath.Join(t.TempDir(), "other"), filepath.Join(t.TempDir(), "changed")
	for file, text := range map[string]string{other: "another", changed: "a changed one"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cryptsetup(t, passphrase, append([]string{"luksAddKey", "-q", "--key-file", "-", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}, path, other)...)
	cryptsetup(t, "", "luksKillSlot", "-q", path, "0")
	cryptsetup(t, "", "config", "--label", "renamed", path)
	after := load(t, path)
	if evidence(t, after, 1) != before {
		t.Error("cryptsetup changed another keyslot, and the evidence with it")
	}
	now, err := read(after)
	if err != nil || len(now.Tokens()) != 1 || !strings.Contains(string(now.Tokens()[0].JSON), `"latchkey-sealed":"00"`) {
		t.Errorf("the token is %v, %v; want the digest in it", now.Tokens(), err)
	}
	cryptsetup(t, "typed by a person", append([]string{"luksChangeKey", "-q", "--key-file", "-", "--key-slot", "1", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}, path, changed)...)
	if evidence(t, load(t, path), 1) == before {
		t.Error("cryptsetup put another key into the keyslot, and the evidence is the same")
	}
}
