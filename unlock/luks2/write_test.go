package luks2_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	luks "github.com/anatol/luks.go"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

func typed(pass string) luks2.NewKey {
	return luks2.NewKey{Passphrase: secret.Own([]byte(pass)), Slot: luks2.AnySlot, MemoryKiB: 64}
}

// save writes a disk to a file for the oracles.
func save(t testing.TB, d disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, d, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, path string) disk {
	t.Helper()
	d, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opensElsewhere checks that cryptsetup and luks.go open the keyslot.
func opensElsewhere(t *testing.T, path, pass, slot string, mac [32]byte) {
	t.Helper()
	cryptsetup(t, pass, "open", "--test-passphrase", "--key-file", "-", "--key-slot", slot, path)
	dev, err := luks.Open(path)
	if err != nil {
		t.Fatalf("luks.Open: %v", err)
	}
	defer dev.Close()
	v, err := dev.UnsealVolume(int(slot[0]-'0'), []byte(pass))
	if err != nil {
		t.Fatalf("luks.go, keyslot %s: %v", slot, err)
	}

	got, err := v.HMAC(crypto.SHA256, []byte("latchkey volume"+dev.UUID()))
	if err != nil || !bytes.Equal(got, mac[:]) {
		t.Errorf("luks.go finds the MAC %x, %v, want %x", got, err, mac)
	}
}

// What we format and change, cryptsetup and luks.go open, with the same
// volume key; what we removed, they refuse.
//
// compatible: Disks | cryptsetup (Debian 12), luks.go | LUKS2 volumes that latchkey formats open there
func TestOthersOpenOurs(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d := make(disk, 18<<20)
		h, key, err := luks2.Format(d, luks2.NewVolume{Label: "ours", SectorBytes: sector, SizeBytes: int64(len(d))}, random(randomKey))
		if err != nil {
			t.Fatal(err)
		}

		if h, _, err = h.SetToken(d, 5, json.RawMessage(`{"type":"latchkey","keyslots":["0"],"note":"<&>"}`)); err != nil {
			t.Fatal(err)
		}
		h, slot, err := h.AddKey(d, key, typed("typed by a person"))
		if err != nil || slot != 1 {
			t.Fatalf("AddKey = slot %d, %v, want 1", slot, err)
		}

		path := save(t, d)
		opensElsewhere(t, path, randomKey, "0", key.MAC())
		opensElsewhere(t, path, "typed by a person", "1", key.MAC())
		if out := cryptsetup(t, "", "luksDump", path); !strings.Contains(out, "ours") || !strings.Contains(out, "latchkey") {
			t.Errorf("luksDump lacks label or token:\n%s", out)
		}

		if h, err = h.RemoveKey(d, 0); err != nil {
			t.Fatal(err)
		}
		path = save(t, d)
		opensElsewhere(t, path, "typed by a person", "1", key.MAC())
		if _, err := runCryptsetup(t, randomKey, "open", "--test-passphrase", "--key-file", "-", path); err == nil {
			t.Error("cryptsetup opens with a removed key")
		}

		if got := string(h.Tokens()[0].JSON); !strings.Contains(got, `"keyslots":[]`) || !strings.Contains(got, `"note":"<`) && !strings.Contains(got, `\u003c`) {
			t.Errorf("the token after RemoveKey = %s", got)
		}
	}
}

// Keys and tokens that we add to cryptsetup's volumes, and it to ours.
//
// compatible: Disks | cryptsetup (Debian 12) | both change keyslots of one volume in turn
func TestTakeTurns(t *testing.T) {
	path := luksFormat(t, pbkdf2Slot("--sector-size", "512")...)
	h, image := readImage(t, path)
	key, _, err := unlock(h, disk(image), passphrase, 0)
	if err != nil {
		t.Fatal(err)
	}

	if _, _, err := h.AddKey(disk(image), key, random(randomKey)); err != nil {
		t.Fatal(err)
	}
	path = save(t, image)
	opensElsewhere(t, path, randomKey, "1", key.MAC())
	third := filepath.Join(t.TempDir(), "third.key")
	if err := os.WriteFile(third, []byte("third"), 0o600); err != nil {
		t.Fatal(err)
	}

	cryptsetup(t, randomKey, append([]string{"luksAddKey", "-q", "--key-file", "-", path, third}, pbkdf2Slot()...)...)
	h, image = readImage(t, path)
	if _, slot, err := unlock(h, disk(image), "third", luks2.AnySlot); err != nil || slot != 2 {
		t.Errorf("Unlock = slot %d, %v, want 2", slot, err)
	}
	if _, err = h.RemoveKey(disk(image), 0); err != nil {
		t.Fatal(err)
	}

	opensElsewhere(t, save(t, image), "third", "2", key.MAC())
}
