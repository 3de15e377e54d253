package luks2_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

// twoCopies is a volume whose header copies name themselves in token 0.
func twoCopies(t testing.TB) disk {
	h, _, d := format(t)
	if _, _, err := h.SetToken(d, 0, json.RawMessage(`{"type":"copy","keyslots":[],"which":"primary"}`)); err != nil {
		t.Fatal(err)
	}
	rewrite(d, hdrSize, func(raw []byte) {
		copy(raw[jsonStart:], bytes.Replace(raw[jsonStart:], []byte("primary"), []byte("backup1"), 1))
	})
	return d
}

func which(tokens string) string {
	for _, name := range []string{"primary", "backup1"} {
		if strings.Contains(tokens, name) {
			return name
		}
	}
	return "none"
}

var copyCases = []struct {
	name   string
	change func(d disk)
	want   string // which copy is used; or the code of the error
}{
	{"both-good", func(disk) {}, "primary"},
	{"primary-damaged", func(d disk) { damage(d, 0) }, "backup1"},
	{"secondary-damaged", func(d disk) { damage(d, hdrSize) }, "primary"},
	{"both-damaged", func(d disk) { damage(d, 0); damage(d, hdrSize) }, "headers-damaged"},
	{"secondary-newer", func(d disk) { setSeqID(d, hdrSize, 9) }, "backup1"},
	{"primary-newer", func(d disk) { setSeqID(d, 0, 9) }, "primary"},
	{"secondary-newer-by-the-top-bit", func(d disk) { setSeqID(d, hdrSize, 1<<63) }, "backup1"},
	{"secondary-newer-and-damaged", func(d disk) { setSeqID(d, hdrSize, 9); damage(d, hdrSize) }, "primary"},
	{"primary-magic-gone", func(d disk) { clear(d[:6]) }, "backup1"},
	{"primary-zeroed", func(d disk) { clear(d[:hdrSize]) }, "backup1"},
	{"secondary-zeroed", func(d disk) { clear(d[hdrSize : 2*hdrSize]) }, "primary"},
	{"primary-torn", func(d disk) { clear(d[512:hdrSize]) }, "backup1"},
	{"both-zeroed", func(d disk) { clear(d[:2*hdrSize]) }, "not-luks"},
	{"secondary-of-another-size", func(d disk) {
		damage(d, 0)
		raw := d[hdrSize : 3*hdrSize]
		binary.BigEndian.PutUint64(raw[8:], 2*hdrSize)
		clear(raw[448:512])
		sum := sha256.Sum256(raw)
		copy(raw[448:], sum[:])
	}, "headers-damaged"},
	{"secondary-moved", func(d disk) { copy(d[2*hdrSize:], d[hdrSize:2*hdrSize]); clear(d[:2*hdrSize]) }, "headers-damaged"},
}

// The copy used is the one that cryptsetup uses (A8, F19), and reading
// writes nothing.
func TestChoiceOfCopy(t *testing.T) {
	base := twoCopies(t)
	for _, tt := range copyCases {
		t.Run(tt.name, func(t *testing.T) {
			d := clone(base)
			tt.change(d)
			before := clone(d)
			h, err := read(d)
			got := code(err)
			if err == nil {
				got = which(string(h.Tokens()[0].JSON))
			}

			if got != tt.want {
				t.Errorf("Read = %s (%v), want %s", got, err, tt.want)
			}
			if !bytes.Equal(before, d) {
				t.Error("Read changed the disk")
			}

			path := filepath.Join(t.TempDir(), "copy.img") // cryptsetup may repair it
			if err := os.WriteFile(path, d, 0o600); err != nil {
				t.Fatal(err)
			}

			dump, ok := tryCryptsetup(t, "luksDump", "--dump-json-metadata", path)
			if ok != (err == nil) || ok && which(dump) != tt.want {
				t.Errorf("cryptsetup uses %s (ok %v), want %s", which(dump), ok, tt.want)
			}
		})
	}
}

// failing returns an error for reads in [from, to).
type failing struct {
	disk
	from, to int64
}

var errBadSector = errors.New("bad sector")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, errBadSector
	}
	return f.disk.ReadAt(p, off)
}

// A bad sector in one copy costs nothing; in both it is an error that is
// worth another try (F20).
func TestReadErrors(t *testing.T) {
	base := twoCopies(t)
	for _, tt := range []struct {
		name     string
		from, to int64
		want     string
	}{
		{"primary", 0, 512, "backup1"},
		{"primary-json", 8192, 8704, "backup1"},
		{"secondary", hdrSize, hdrSize + 512, "primary"},
		{"both", 0, 4 << 20, "header-io"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := luks2.Read(failing{clone(base), tt.from, tt.to}, int64(len(base)))
			got := code(err)
			if err == nil {
				got = which(string(h.Tokens()[0].JSON))
			} else if !errors.Is(err, errBadSector) {
				t.Errorf("Read = %v, want it to wrap %v", err, errBadSector)
			}
			if got != tt.want {
				t.Errorf("Read = %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

// A device that is shorter than it says, or shorter than its header, is
// an error at each length.
func TestShortDevice(t *testing.T) {
	_, _, d := format(t)
	for n := 0; n <= len(d); n += 16 << 10 {
		h, err := luks2.Read(d[:n], int64(n))
		if ok := n > 1<<20; ok != (err == nil) {
			t.Errorf("Read of a device of %d bytes = %v", n, err)
		} else if ok && h.Segment().SizeBytes != int64(n-1<<20) {
			t.Errorf("Segment().SizeBytes = %d with a device of %d bytes", h.Segment().SizeBytes, n)
		}
	}
	if _, err := luks2.Read(d[:8192], int64(len(d))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read of a device that ends early = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// A header that says it is larger than the device is damaged, not an I/O
// error that is worth another try.
func TestHeaderLargerThanDevice(t *testing.T) {
	_, _, d := format(t)
	d = d[:24<<10]
	rewrite(d, 0, func(raw []byte) { binary.BigEndian.PutUint64(raw[8:], 2*hdrSize) })
	if _, err := read(d); !errors.Is(err, luks2.ErrDamaged) {
		t.Errorf("Read = %v, want %v", err, luks2.ErrDamaged)
	}
}

func TestNotLUKS(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"zeros", "", "not-luks"},
		{"text", "hello", "not-luks"},
		{"luks1", "LUKS\xba\xbe\x00\x01", "luks1"},
		{"magic-only", "LUKS\xba\xbe", "headers-damaged"},
	} {
		d := make(disk, 1<<20)
		copy(d, tt.content)
		if _, err := read(d); code(err) != tt.want {
			t.Errorf("Read of %s = %v, want code %q", tt.name, err, tt.want)
		}
	}
}

// Both header sizes that are common, and the largest, are read with the
// primary gone.
func TestHeaderSizes(t *testing.T) {
	for _, size := range []string{"16k", "64k", "4m"} {
		t.Run(size, func(t *testing.T) {
			path := luksFormat(t, pbkdf2Slot("--luks2-metadata-size", size, "--luks2-keyslots-size", "1m", "--sector-size", "512")...)
			want, image := readImage(t, path)
			clear(image[:4096])
			got, err := read(image)
			if err != nil {
				t.Fatalf("Read without the primary = %v", err)
			}
			if fmt.Sprint(got.Segment(), got.SeqID()) != fmt.Sprint(want.Segment(), want.SeqID()) || got.OtherCopy() != luks2.CopyDamaged {
				t.Errorf("Read without the primary = %+v, want %+v", got.Segment(), want.Segment())
			}
		})
	}
}
