package luks2_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	devmapper "github.com/anatol/devmapper.go"
	luks "github.com/anatol/luks.go"
	"github.com/google/go-cmp/cmp"

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

// The payload reads back through devmapper.go's user-space dm-crypt, at
// sizes around a sector, a chunk and the end.
func TestEncrypt(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, size := range []int{0, 1, 511, 512, 4097, 1<<20 - 1, 1 << 20, 3<<20 + 1, 4 << 20} {
			d := make(disk, 5<<20)
			h, key, err := luks2.Format(d, luks2.NewVolume{SizeBytes: int64(len(d)), OffsetBytes: 1 << 20, SectorBytes: sector}, random(randomKey))
			if err != nil {
				t.Fatal(err)
			}
			plain := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
			n, err := h.Encrypt(context.Background(), d, key, bytes.NewReader(plain))
			if err != nil || n != int64(size) {
				t.Fatalf("Encrypt of %d bytes = %d, %v", size, n, err)
			}
			seg := h.Segment()
			v, err := devmapper.OpenUserspaceVolume(os.O_RDONLY, 0, devmapper.CryptTable{Length: uint64(seg.SizeBytes), BackendDevice: save(t, d),
				BackendOffset: uint64(seg.OffsetBytes), Encryption: luks2.Cipher, Key: key.Bytes().Reveal(), SectorSize: uint64(seg.SectorBytes)})
			if err != nil {
				t.Fatal(err)
			}
			back := make([]byte, (size+sector-1)/sector*sector)
			if _, err := v.ReadAt(back, 0); err != nil {
				t.Fatal(err)
			}
			v.Close()
			if !bytes.Equal(back[:size], plain) || len(bytes.Trim(back[size:], "\x00")) > 0 {
				t.Errorf("sector %d, %d bytes: the payload reads back differently", sector, size)
			}
		}
	}
}

// More than a payload that ends before the device is refused, and what is
// behind the payload stays.
func TestEncryptTooMuch(t *testing.T) {
	_, key, d := format(t)
	rewriteJSON(t, d, func(text string) string { return strings.Replace(text, `"dynamic"`, `"524288"`, 1) })
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Encrypt(context.Background(), d, key, bytes.NewReader(make([]byte, 524289))); err == nil {
		t.Error("Encrypt of one byte more than the payload holds succeeds")
	}
	if len(bytes.Trim(d[1<<20+524288:], "\x00")) > 0 {
		t.Error("Encrypt wrote behind the payload")
	}
}

// lying drops writes of keyslot areas, as a failing disk may.
type lying struct{ disk }

func (l lying) WriteAt(p []byte, off int64) (int, error) {
	if len(p) > hdrSize {
		return len(p), nil
	}
	return l.disk.WriteAt(p, off)
}

// A keyslot that does not read back is never named in the header.
func TestAddKeyReadsBack(t *testing.T) {
	h, key, d := format(t)
	before := clone(d)
	if _, _, err := h.AddKey(lying{d}, key, random(randomKey)); err == nil {
		t.Error("AddKey on a disk that loses writes succeeds")
	}
	if !bytes.Equal(before, d) {
		t.Error("AddKey changed the header")
	}
}

func TestEncryptRefuses(t *testing.T) {
	h, key, d := format(t)
	_, other, _ := format(t)
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := h.Encrypt(ctx, d, key, bytes.NewReader(make([]byte, 1<<20+1))); err == nil {
		t.Error("Encrypt of more than the payload holds succeeds")
	}
	if _, err := h.Encrypt(ctx, d, other, bytes.NewReader(nil)); !errors.Is(err, luks2.ErrWrongKey) {
		t.Errorf("Encrypt with the key of another volume = %v, want %v", err, luks2.ErrWrongKey)
	}
	cancel()
	if _, err := h.Encrypt(ctx, d, key, bytes.NewReader(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("Encrypt after cancel = %v, want %v", err, context.Canceled)
	}
}

// Formatting refuses what is not proven empty, and changes nothing then.
func TestFormatEmptiness(t *testing.T) {
	for _, tt := range []struct {
		name      string
		at        int
		overwrite bool
		want      string
	}{
		{"ext4-magic", 1080, false, "not-empty"},
		{"last-byte-before-payload", 1<<20 - 1, false, "not-empty"},
		{"second-gpt", 4<<20 - 512, false, "not-empty"},
		{"payload-start", 1 << 20, false, "not-empty"},
		{"overwrite", 1080, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := make(disk, 4<<20)
			d[tt.at] = 0x53
			before := clone(d)
			_, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: int64(len(d)), OffsetBytes: 1 << 20, Overwrite: tt.overwrite}, random(randomKey))
			if code(err) != tt.want {
				t.Errorf("Format = %v, want code %q", err, tt.want)
			}
			if err != nil && !bytes.Equal(before, d) {
				t.Error("Format changed what it refused")
			}
		})
	}
	d := failing{make(disk, 4<<20), 0, 512}
	if _, _, err := luks2.Format(d, luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20}, random(randomKey)); !errors.Is(err, errBadSector) {
		t.Errorf("Format of an unreadable disk = %v, want %v", err, errBadSector)
	}
}

func TestFormatRefuses(t *testing.T) {
	long := luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20, Label: strings.Repeat("x", 48)}
	ok := luks2.NewVolume{SizeBytes: 4 << 20, OffsetBytes: 1 << 20}
	with := func(change func(*luks2.NewVolume)) luks2.NewVolume { v := ok; change(&v); return v }
	for _, tt := range []struct {
		name string
		v    luks2.NewVolume
		key  luks2.NewKey
		want string
	}{
		{"label", long, random(randomKey), "label"},
		{"uuid", with(func(v *luks2.NewVolume) { v.UUID = "x" }), random(randomKey), "uuid"},
		{"sector", with(func(v *luks2.NewVolume) { v.SectorBytes = 1024 }), random(randomKey), "segment-sector"},
		{"small-device", with(func(v *luks2.NewVolume) { v.SizeBytes = 1 << 20 }), random(randomKey), "segment-range"},
		{"early-payload", with(func(v *luks2.NewVolume) { v.OffsetBytes = 4096 }), random(randomKey), "segment-overlap"},
		{"slot", ok, luks2.NewKey{Passphrase: secret.Random(32), Slot: 32}, "keyslot-count"},
		{"memory", ok, luks2.NewKey{Passphrase: secret.Random(32), MemoryKiB: 2 << 20}, "kdf-memory"},
	} {
		if _, _, err := luks2.Format(make(disk, 4<<20), tt.v, tt.key); code(err) != tt.want {
			t.Errorf("%s: Format = %v, want code %q", tt.name, err, tt.want)
		}
	}
	for _, pass := range []string{"", "short"} {
		if _, _, err := luks2.Format(make(disk, 4<<20), ok, random(pass)); err == nil {
			t.Errorf("Format with %q as random key succeeds", pass)
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	h, key, d := format(t)
	_, other, _ := format(t)
	if _, _, err := h.AddKey(d, other, random(randomKey)); !errors.Is(err, luks2.ErrWrongKey) {
		t.Errorf("AddKey with another volume's key = %v, want %v", err, luks2.ErrWrongKey)
	}
	if _, err := h.RemoveKey(d, 0); !errors.Is(err, luks2.ErrLastSlot) {
		t.Errorf("RemoveKey of the last keyslot = %v, want %v", err, luks2.ErrLastSlot)
	}
	if _, err := h.RemoveKey(d, 3); !errors.Is(err, luks2.ErrNoSlot) {
		t.Errorf("RemoveKey of keyslot 3 = %v, want %v", err, luks2.ErrNoSlot)
	}
	for name, token := range map[string]string{
		"not-json":   `{`,
		"two-tokens": `{"type":"a","keyslots":[]},"9":{"type":"b","keyslots":[]}`,
		"duplicate":  `{"type":"a","type":"b","keyslots":[]}`,
		"no-type":    `{"keyslots":[]}`,
		"bad-slot":   `{"type":"a","keyslots":["7"]}`,
		"too-big":    `{"type":"a","keyslots":[],"x":"` + strings.Repeat("x", 12<<10) + `"}`,
	} {
		before := clone(d)
		if _, _, err := h.SetToken(d, luks2.AnyToken, json.RawMessage(token)); code(err) == "" {
			t.Errorf("%s: SetToken = %v, want a refusal", name, err)
		}
		if !bytes.Equal(before, d) {
			t.Errorf("%s: SetToken changed the disk", name)
		}
	}
	if _, _, err := h.AddKey(d, key, random(randomKey)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKey(d, key, random(randomKey)); !errors.Is(err, luks2.ErrChanged) {
		t.Errorf("AddKey through an old header = %v, want %v", err, luks2.ErrChanged)
	}
}

// 32 keyslots do not fit in 1 MiB of keyslots area: the error comes before
// anything is written, and a freed area is used again.
func TestKeyslotsFull(t *testing.T) {
	h, key, d := format(t)
	var err error
	for err == nil {
		var next *luks2.Header
		if next, _, err = h.AddKey(d, key, random(randomKey)); err == nil {
			h = next
		}
	}
	if code(err) != "keyslot-area" || len(h.Keyslots()) != 3 {
		t.Errorf("AddKey to a full area = %v with %d keyslots, want keyslot-area with 3", err, len(h.Keyslots()))
	}
	if h, err = h.RemoveKey(d, 1); err != nil {
		t.Fatal(err)
	}
	if h, slot, err := h.AddKey(d, key, random(randomKey)); err != nil || slot != 1 {
		t.Errorf("AddKey after RemoveKey = slot %d, %v, want 1", slot, err)
	} else if _, _, err := unlock(h, d, randomKey, 2); err != nil {
		t.Errorf("keyslot 2 afterwards: %v", err)
	}
}

// The subset digest and the MAC stay when keys and tokens change, and
// differ between two volumes with one UUID (A1).
func TestIdentity(t *testing.T) {
	h, key, d := format(t)
	changed, _, err := h.AddKey(d, key, random(randomKey))
	if err != nil {
		t.Fatal(err)
	}
	if changed, _, err = changed.SetToken(d, 0, json.RawMessage(`{"type":"a","keyslots":[]}`)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.SubsetDigest(), changed.SubsetDigest()); diff != "" {
		t.Errorf("SubsetDigest changed with a key (-want +got):\n%s", diff)
	}
	fake, fakeKey, _ := format(t)
	if fake.SubsetDigest() == h.SubsetDigest() || fakeKey.MAC() == key.MAC() {
		t.Error("two volumes with one UUID have one identity")
	}
}
