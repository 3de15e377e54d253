package luks2_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	devmapper "github.com/anatol/devmapper.go"

	"latchkey/unlock/luks2"
)

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
			v, err := devmapper.OpenUserspaceVolume(os.O_RDONLY, 0, devmapper.CryptTable{
				Length: uint64(seg.SizeBytes), BackendDevice: save(t, d),
				BackendOffset: uint64(seg.OffsetBytes), Encryption: luks2.Cipher, Key: key.Bytes().Reveal(), SectorSize: uint64(seg.SectorBytes),
			})
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
