package luks2_test

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"latchkey/unlock/luks2"
)

func readLUKS1(d disk) (*luks2.Header, error) { return luks2.ReadLUKS1(d, int64(len(d))) }

// What cryptsetup formats as LUKS1 opens here, with the key that luks.go
// finds as well.
//
// compatible: Disks | cryptsetup (Debian 12) | LUKS1 volumes that it formats open here
func TestLUKS1(t *testing.T) {
	for _, tt := range []struct{ name, hash, bits string }{
		{"sha256", "sha256", "512"},
		{"sha512", "sha512", "512"},
		{"aes-128", "sha256", "256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := luks1Image(t, "--hash", tt.hash, "--key-size", tt.bits)
			h, err := readLUKS1(d)
			if err != nil {
				t.Fatalf("ReadLUKS1 = %v", err)
			}

			key, slot, err := unlock(h, d, passphrase, luks2.AnySlot)
			if err != nil || slot != 0 || key.Type() != "LUKS1" {
				t.Fatalf("Unlock = slot %d, %v, type %s, want slot 0 of LUKS1", slot, err, key.Type())
			}

			opensElsewhere(t, save(t, d), passphrase, "0", key.MAC())
			if _, _, err := unlock(h, d, "wrong", luks2.AnySlot); !errors.Is(err, luks2.ErrWrongKey) {
				t.Errorf("Unlock with a wrong key = %v, want %v", err, luks2.ErrWrongKey)
			}
			if _, _, err := h.AddKey(d, key, random(randomKey)); !errors.Is(err, luks2.ErrLUKS1) {
				t.Errorf("AddKey = %v, want %v", err, luks2.ErrLUKS1)
			}

			if _, _, err := h.SetToken(d, 0, json.RawMessage(`{"type":"a","keyslots":[]}`)); !errors.Is(err, luks2.ErrLUKS1) {
				t.Errorf("SetToken = %v, want %v", err, luks2.ErrLUKS1)
			}
			if _, err := read(d); !errors.Is(err, luks2.ErrLUKS1) {
				t.Errorf("Read = %v, want %v", err, luks2.ErrLUKS1)
			}
		})
	}
}

// luks1Image is a LUKS1 volume of the oracle with two keyslots.
func luks1Image(t testing.TB, args ...string) disk {
	t.Helper()
	path := save(t, make(disk, 4<<20))
	cryptsetup(t, passphrase, append([]string{"luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", "-", path}, args...)...)
	second := save(t, disk("second"))
	cryptsetup(t, passphrase, "luksAddKey", "-q", "--pbkdf-force-iterations", "1000", "--key-file", "-", path, second)
	return load(t, path)
}

func TestLUKS1Rules(t *testing.T) {
	base := luks1Image(t, "--hash", "sha256", "--key-size", "512")
	number := func(at int, n uint32) func(disk) {
		return func(d disk) { binary.BigEndian.PutUint32(d[at:], n) }
	}
	text := func(at int, s string) func(disk) { return func(d disk) { copy(d[at:], s+"\x00") } }
	const slot0, slot1 = 208, 256

	for _, tt := range []struct {
		name, code string
		change     func(disk)
	}{
		{"as-it-is", "", func(disk) {}},
		{"version-2", "not-luks", text(6, "\x00\x02")},
		{"no-magic", "not-luks", text(0, "x")},
		{"cipher", "segment-cipher", text(8, "null")},
		{"cipher-behind-nul", "segment-cipher", func(d disk) { d[8+20] = 'x' }},
		{"mode", "segment-cipher", text(40, "ecb")},
		{"mode-with-table-words", "segment-cipher", text(40, "xts-plain64 0 0")},
		{"hash", "digest-hash", text(72, "sha1")},
		{"key-size", "keyslot-key-size", number(108, 16)},
		{"key-size-huge", "keyslot-key-size", number(108, 1<<31)},
		{"payload-past-end", "segment-range", number(104, 1<<31)},
		{"payload-detached", "keyslot-area", number(104, 0)},
		{"digest-iterations", "digest-iterations", number(164, 0)},
		{"digest-iterations-high", "digest-iterations", number(164, 1<<31)},
		{"uuid", "uuid", text(168, "x")},
		{"slot-state", "keyslot-type", number(slot0, 1)},
		{"slot-off", "", number(slot1, 0xdead)},
		{"slot-iterations", "skip:kdf-iterations", number(slot0+4, 1)},
		{"slot-iterations-high", "skip:kdf-iterations", number(slot0+4, 1<<31)},
		{"slot-in-header", "keyslot-area", number(slot0+40, 0)},
		{"slot-in-payload", "keyslot-area", number(slot0+40, 1<<32-1)},
		{"slot-stripes", "skip:keyslot-af", number(slot0+44, 1)},
		{"slots-overlap", "keyslot-overlap", func(d disk) { copy(d[slot1+40:slot1+44], d[slot0+40:slot0+44]) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := clone(base)
			tt.change(d)
			h, err := readLUKS1(d)
			got, pass := code(err), passphrase
			if err == nil && len(h.Skipped()) > 0 {
				got, pass = "skip:"+h.Skipped()[0].Reason.Code(), "second"
			}
			if got != tt.code {
				t.Errorf("ReadLUKS1 = %v, code %q, want %q", err, got, tt.code)
			}
			if err == nil {
				if _, _, err := unlock(h, d, pass, luks2.AnySlot); err != nil {
					t.Errorf("Unlock = %v", err)
				}
			}
		})
	}

	for _, n := range []int{0, 591, 592} {
		if _, err := luks2.ReadLUKS1(base[:n], int64(n)); err == nil {
			t.Errorf("ReadLUKS1 of %d bytes succeeds", n)
		}
	}
}

// FuzzReadLUKS1 puts the input at the start of a disk of 4 MiB.
func FuzzReadLUKS1(f *testing.F) {
	f.Add([]byte(luks1Image(f)[:592]))
	noise := make([]byte, 592)
	rand.Read(noise)
	f.Add(append([]byte("LUKS\xba\xbe\x00\x01"), noise...))

	f.Fuzz(func(t *testing.T, header []byte) {
		d := make(disk, 4<<20)
		copy(d, header)
		h, err := readLUKS1(d)
		if err != nil {
			if code(err) == "" {
				t.Errorf("ReadLUKS1 = %v, which has no code", err)
			}
			return
		}
		s := h.Segment()
		if !uuidShape.MatchString(h.UUID()) || s.SectorBytes != 512 || s.SizeBytes <= 0 || s.OffsetBytes+s.SizeBytes != int64(len(d)) || len(h.Keyslots()) > 8 {
			t.Errorf("accepted: UUID %q, segment %+v, %d keyslots", h.UUID(), s, len(h.Keyslots()))
		}
	})
}
