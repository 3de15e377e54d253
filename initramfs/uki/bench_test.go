package uki_test

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
	"time"

	"latchkey/initramfs/uki"
)

// BenchmarkImage is an image of 60 MB: built, its PCR 11 predicted and
// signed, and read again, as when it is added to a key server. "sha256s" is
// how often the bare hash of the same bytes would fit into that time: the
// prediction needs it once, the reader once more.
func BenchmarkImage(b *testing.B) {
	s, _ := readStub(b)
	data := make([]byte, 48<<20)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(source.Uint32())
	}
	sections := []uki.Section{
		{Name: ".linux", Data: data[:12<<20]}, {Name: ".initrd", Data: data}, {Name: ".cmdline", Data: []byte("ro")}, {Name: ".osrel", Data: []byte("ID=test\n")},
	}
	key := signer(b)

	b.SetBytes(60 << 20)
	for b.Loop() {
		predicted := s.PCR11(sections, uki.InInitrd)
		policy, err := key.Sign(predicted)
		if err != nil {
			b.Fatal(err)
		}
		image, err := s.Build(append(sections, uki.Section{Name: ".pcrsig", Data: policy}))
		if err != nil {
			b.Fatal(err)
		}
		read, err := uki.Read(image)
		if err != nil {
			b.Fatal(err)
		}
		if s.PCR11(read, uki.InInitrd) != predicted {
			b.Fatal("the image that was read measures otherwise")
		}
	}

	const rounds = 5
	began := time.Now()
	for range rounds {
		sha256.Sum256(data)
		sha256.Sum256(data[:12<<20])
	}
	bare := time.Since(began) / rounds
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(bare), "sha256s")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/image")
}
