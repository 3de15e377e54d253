package luks2_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// counter counts reads of keyslot areas.
type counter struct {
	disk
	reads []int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.reads = append(c.reads, off)
	return c.disk.ReadAt(p, off)
}

// A slot whose argon2 wants more memory than is free, less what the rest
// needs, is refused before its area is read, and costs no other slot its try
// (F26; faults/peers.md I14).
func TestUnlockMemory(t *testing.T) {
	h, key, d := format(t)
	h, slot, err := h.AddKey(d, key, luks2.NewKey{Passphrase: secret.Own([]byte("typed")), Slot: luks2.AnySlot, MemoryKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name      string
		pass      string
		slot      int
		freeBytes int64
		want      string // code, "" when it opens
	}{
		{"enough", "typed", slot, 2 << 20, ""},
		{"unknown", "typed", slot, 0, ""},
		{"one-byte-less", "typed", slot, 2<<20 - 1, "kdf-memory"},
		{"any-slot", "typed", luks2.AnySlot, 1 << 20, "kdf-memory"},
		{"other-slot-opens", randomKey, luks2.AnySlot, 1 << 20, ""},
	} {
		r := &counter{disk: d}
		_, _, err := h.Unlock(context.Background(), r, luks2.Attempt{Passphrase: secret.Own([]byte(tt.pass)), Slot: tt.slot, Memory: luks2.NewMemory(tt.freeBytes)})
		if code(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: Unlock = %v, want code %q", tt.name, err, tt.want)
		}
		if tried := tt.slot == luks2.AnySlot && tt.want != ""; errors.Is(err, luks2.ErrWrongKey) != tried {
			t.Errorf("%s: Unlock = %v; the other slot was tried: %v", tt.name, err, tried)
		}
		if tt.slot == slot && tt.want != "" && len(r.reads) > 0 {
			t.Errorf("%s: the area was read at %d", tt.name, r.reads)
		}
	}
}

// Preferred slots come first, then cheap ones; priority 0 only by number.
func TestUnlockOrder(t *testing.T) {
	h, key, d := format(t)
	h, _, err := h.AddKey(d, key, luks2.NewKey{Passphrase: secret.Own([]byte("typed")), Slot: luks2.AnySlot, MemoryKiB: 1024})
	if err != nil {
		t.Fatal(err)
	}

	if _, _, err = h.AddKey(d, key, random(randomKey)); err != nil {
		t.Fatal(err)
	}
	const area = 258048

	for _, tt := range []struct {
		name, old, new string
		want           []int64 // areas read, by number
	}{
		{"cheap-first", `"stripes"`, ` "stripes"`, []int64{0, 2, 1}},
		{"prefer-typed", `"1":{"type":"luks2",`, `"1":{"type":"luks2","priority":2,`, []int64{1, 0, 2}},
		{"ignored", `"0":{"type":"luks2",`, `"0":{"type":"luks2","priority":0,`, []int64{2, 1}},
	} {
		d := clone(d)
		rewriteJSON(t, d, func(text string) string { return strings.Replace(text, tt.old, tt.new, 1) })
		h, err := read(d)
		if err != nil {
			t.Fatal(err)
		}

		r := &counter{disk: d}
		if _, _, err := unlock(h, r, "wrong", luks2.AnySlot); !errors.Is(err, luks2.ErrWrongKey) {
			t.Errorf("%s: Unlock = %v, want %v", tt.name, err, luks2.ErrWrongKey)
		}
		for i := range r.reads {
			r.reads[i] = (r.reads[i] - 2*hdrSize) / area
		}

		if len(r.reads) != len(tt.want) {
			t.Errorf("%s: areas read %d, want %d", tt.name, r.reads, tt.want)
			continue
		}

		for i := range tt.want {
			if r.reads[i] != tt.want[i] {
				t.Errorf("%s: areas read %d, want %d", tt.name, r.reads, tt.want)
				break
			}
		}

		if _, _, err := unlock(h, d, randomKey, 0); err != nil {
			t.Errorf("%s: Unlock of slot 0 by number = %v", tt.name, err)
		}
	}
}

func TestUnlockErrors(t *testing.T) {
	h, _, d := format(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := h.Unlock(ctx, d, luks2.Attempt{Passphrase: secret.Own([]byte(randomKey)), Slot: luks2.AnySlot}); !errors.Is(err, context.Canceled) {
		t.Errorf("Unlock after cancel = %v, want %v", err, context.Canceled)
	}

	if _, _, err := unlock(h, failing{d, 40960, 41472}, randomKey, luks2.AnySlot); !errors.Is(err, errBadSector) || errors.Is(err, luks2.ErrWrongKey) {
		t.Errorf("Unlock with a bad sector = %v, want %v", err, errBadSector)
	}
	if _, _, err := unlock(h, d, "", luks2.AnySlot); !errors.Is(err, luks2.ErrWrongKey) {
		t.Errorf("Unlock with an empty key = %v, want %v", err, luks2.ErrWrongKey)
	}

	for _, at := range []int{2 * hdrSize, 2*hdrSize + 255999} { // first and last byte of the stripes
		flipped := clone(d)
		flipped[at] ^= 1
		if _, _, err := unlock(h, flipped, randomKey, 0); !errors.Is(err, luks2.ErrWrongKey) {
			t.Errorf("Unlock with a bit flipped at %d = %v, want %v", at, err, luks2.ErrWrongKey)
		}
	}
}

// Identities stay for ever: what a KMS stored must match after any change
// of ours. Both values were computed by hand (Python) from the header that
// cryptsetup 2.6.1 wrote and from the key.
func TestIdentityVector(t *testing.T) {
	d := make(disk, 20<<20)
	hdr, err := os.ReadFile("testdata/cryptsetup-2.6.1.hdr")
	if err != nil {
		t.Fatal(err)
	}

	copy(d, hdr)
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}

	const want = "a551d5de51157b1b82574d8d7d15729f057f26669bb9ac7bff1cfe52271f3a6b"
	if got := fmt.Sprintf("%x", h.SubsetDigest()); got != want {
		t.Errorf("SubsetDigest = %s, want %s", got, want)
	}
	volumeKey := make([]byte, 64)
	for i := range volumeKey {
		volumeKey[i] = byte(i)
	}

	keyFile := filepath.Join(t.TempDir(), "volume.key")
	if err := os.WriteFile(keyFile, volumeKey, 0o600); err != nil {
		t.Fatal(err)
	}

	h, image := readImage(t, luksFormat(t, pbkdf2Slot("--uuid", testUUID, "--volume-key-file", keyFile)...))
	key, _, err := unlock(h, disk(image), passphrase, luks2.AnySlot)
	if err != nil {
		t.Fatal(err)
	}

	const wantMAC = "e60dbf9b097d8d8eb49980a9266ad596338f518bcac18f8cdd363af6dda37818"
	if got := fmt.Sprintf("%x", key.MAC()); got != wantMAC {
		t.Errorf("MAC = %s, want %s", got, wantMAC)
	}
}

// A key that somebody prints or encodes does not show.
func TestVolumeKeyPrints(t *testing.T) {
	_, key, _ := format(t)
	want := "key of volume " + testUUID
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got := fmt.Sprintf(verb, key); got != want {
			t.Errorf("Sprintf(%q) = %q, want %q", verb, got, want)
		}
	}
	//lint:ignore SA9005 that nothing comes of it is what is tested
	if got, err := json.Marshal(key); err == nil && string(got) != "{}" {
		t.Errorf("Marshal = %s, want no fields", got)
	}
}

func BenchmarkRead(b *testing.B) {
	_, _, d := format(b)
	for b.Loop() {
		if _, err := read(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnlock(b *testing.B) {
	h, key, d := format(b)
	h, _, err := h.AddKey(d, key, luks2.NewKey{Passphrase: secret.Own([]byte("typed")), Slot: luks2.AnySlot})
	if err != nil {
		b.Fatal(err)
	}

	for name, pass := range map[string]string{"pbkdf2-1000": randomKey, "argon2id-256MiB": "typed"} {
		slot := 0
		if pass == "typed" {
			slot = 1
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := unlock(h, d, pass, slot); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncrypt(b *testing.B) {
	d := make(disk, 65<<20)
	h, key, err := luks2.Format(d, luks2.NewVolume{SizeBytes: int64(len(d)), OffsetBytes: 1 << 20}, random(randomKey))
	if err != nil {
		b.Fatal(err)
	}
	plain := make([]byte, 64<<20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := h.Encrypt(context.Background(), d, key, bytes.NewReader(plain)); err != nil {
			b.Fatal(err)
		}
	}
}
