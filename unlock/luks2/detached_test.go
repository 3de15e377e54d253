package luks2_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"latchkey/unlock/luks2"
)

// A header that cryptsetup keeps apart from the payload opens with its volume
// key, is changed where it is, and fits no device that is too short.
func TestDetached(t *testing.T) {
	dir := t.TempDir()
	header, data, key := filepath.Join(dir, "hdr"), save(t, make(disk, 2<<20)), save(t, disk(passphrase))
	for _, row := range []struct {
		name   string
		format args
		offset int64
	}{
		{"as cryptsetup does", nil, 0},
		{"with an offset", args{"--offset", "2048"}, 1 << 20},
		{"essiv", args{"--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			os.Remove(header)
			cryptsetup(t, "", append(append(args{"luksFormat", "-q", "--type", "luks2", "--key-file", key, "--header", header, data}, fast...), row.format...)...)
			d := load(t, header)
			accept := luks2.Strict
			if row.name == "essiv" {
				accept = luks2.Cryptsetup
			}
			h, err := accept.ReadDetached(d, int64(len(d)), 2<<20)
			if err != nil {
				t.Fatal(err)
			}
			s := h.Segment()
			if s.OffsetBytes != row.offset || s.SizeBytes != 2<<20-row.offset || !h.Detached() {
				t.Errorf("Segment = %+v, want the payload at %d of 2 MiB", s, row.offset)
			}
			volume, _, err := unlock(h, d, passphrase, luks2.AnySlot)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "volume.key")
			cryptsetup(t, "", "luksDump", "-q", "--key-file", key, "--dump-volume-key", "--volume-key-file", file, header)
			if want := load(t, file); !bytes.Equal(volume.Bytes().Reveal(), want) {
				t.Error("Unlock: not the volume key that cryptsetup finds")
			}

			if _, _, err := h.AddKey(d, volume, random(randomKey)); err != nil {
				t.Errorf("AddKey = %v", err)
			}
			changed := save(t, d)
			cryptsetup(t, randomKey, "open", "--test-passphrase", "--key-file", "-", "--header", changed, data)
			for size, want := range map[int64]string{row.offset: "segment-range", row.offset + 100: "segment-align", 0: "segment-range"} {
				if _, err := accept.ReadDetached(d, int64(len(d)), size); code(err) != want {
					t.Errorf("ReadDetached for %d bytes of payload = %v, want %s", size, err, want)
				}
			}
			if _, err := accept.Read(d, int64(len(d))); row.offset == 0 && code(err) != "segment-detached" {
				t.Errorf("Read = %v, want segment-detached", err)
			}
			if any, err := luks2.ReadAny(d, int64(len(d))); row.offset == 0 && (err != nil || !any.Detached() || any.SubsetDigest() != h.SubsetDigest()) {
				t.Errorf("ReadAny = %v, want the same header", err)
			}
		})
	}
}

// A backup of a header opens its disk as the header does.
func TestDetachedBackup(t *testing.T) {
	path := luksFormat(t, pbkdf2Slot()...)
	backup := filepath.Join(t.TempDir(), "backup")
	cryptsetup(t, "", "luksHeaderBackup", "--header-backup-file", backup, path)
	whole, image := readImage(t, path)
	d := load(t, backup)
	h, err := luks2.Strict.ReadDetached(d, int64(len(d)), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if h.Segment() != whole.Segment() || h.SubsetDigest() != whole.SubsetDigest() {
		t.Errorf("Segment = %+v, want %+v", h.Segment(), whole.Segment())
	}
	if _, _, err := unlock(h, d, passphrase, luks2.AnySlot); err != nil {
		t.Errorf("Unlock = %v", err)
	}
}
