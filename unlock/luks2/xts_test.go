package luks2_test

import (
	"bytes"
	"crypto/aes"
	"testing"

	"golang.org/x/crypto/xts"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// Ours and x/crypto's agree, for single sectors and for many.
func TestXTS(t *testing.T) {
	key := secret.Random(64).Reveal()
	oracle, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		t.Fatal(err)
	}

	for _, sector := range []int{512, 4096} {
		for _, iv := range []uint64{0, 1, 1 << 33, 1<<64 - 8} {
			plain := secret.Random(3 * sector).Reveal()
			want := make([]byte, len(plain))
			for i := 0; i < len(plain); i += sector {
				oracle.Encrypt(want[i:i+sector], plain[i:i+sector], iv+uint64(i/512))
			}
			got := bytes.Clone(plain)
			luks2.XTS(key, got, sector, iv, true)
			if !bytes.Equal(got, want) {
				t.Errorf("encrypting sectors of %d from %d differs from x/crypto", sector, iv)
			}

			luks2.XTS(key, got, sector, iv, false)
			if !bytes.Equal(got, plain) {
				t.Errorf("decrypting sectors of %d from %d does not give the plain text", sector, iv)
			}
		}
	}
}

// IEEE 1619-2018, annex B, vector 10 (XTS-AES-256, data unit of 512 bytes):
// its first and last blocks.
func TestXTSVector(t *testing.T) {
	key := []byte("\x27\x18\x28\x18\x28\x45\x90\x45\x23\x53\x60\x28\x74\x71\x35\x26\x62\x49\x77\x57\x24\x70\x93\x69\x99\x59\x57\x49\x66\x96\x76\x27" +
		"\x31\x41\x59\x26\x53\x58\x97\x93\x23\x84\x62\x64\x33\x83\x27\x95\x02\x88\x41\x97\x16\x93\x99\x37\x51\x05\x82\x09\x74\x94\x45\x92")
	b := make([]byte, 512)
	for i := range b {
		b[i] = byte(i)
	}
	luks2.XTS(key, b, 512, 0xff, true)
	first := []byte("\x1c\x3b\x3a\x10\x2f\x77\x03\x86\xe4\x83\x6c\x99\xe3\x70\xcf\x9b")
	if !bytes.Equal(b[:16], first) {
		t.Errorf("first block = %x, want %x", b[:16], first)
	}
}

func BenchmarkXTS(b *testing.B) {
	key := secret.Random(64).Reveal()
	area := make([]byte, 256000)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(area)))
		for b.Loop() {
			luks2.XTS(key, area, 512, 0, false)
		}
	})

	b.Run("x-crypto", func(b *testing.B) {
		b.SetBytes(int64(len(area)))
		for b.Loop() {
			c, _ := xts.NewCipher(aes.NewCipher, key)
			for i := 0; i < len(area); i += 512 {
				c.Decrypt(area[i:i+512], area[i:i+512], uint64(i/512))
			}
		}
	})
}
