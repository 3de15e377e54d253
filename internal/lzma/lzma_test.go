package lzma_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	writer "github.com/ulikunitz/xz/lzma"

	"latchkey/internal/lzma"
)

// samples are of all kinds: one byte, text, noise, long runs, records
// and near repetitions.
func samples() map[string][]byte {
	noise := make([]byte, 300_000)
	src := rand.NewChaCha8([32]byte{1})
	src.Read(noise)
	records := make([]byte, 200_000)
	for i := range records {
		if i%24 < 3 {
			records[i] = byte(i / 24 >> (8 * (i % 24)))
		}
	}
	near := bytes.Repeat(noise[:5000], 60)
	for i := 0; i < len(near); i += 777 {
		near[i] ^= byte(i)
	}
	return map[string][]byte{
		"one byte": {7}, "text": []byte(strings.Repeat("a module of the kernel, and another. ", 9000)),
		"noise": noise, "a run": make([]byte, 500_000), "records": records, "near repetitions": near,
	}
}

func written(t testing.TB, data []byte, c writer.WriterConfig) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecode(t *testing.T) {
	for name, data := range samples() {
		for how, c := range map[string]writer.WriterConfig{
			"end marker": {EOSMarker: true}, "size": {SizeInHeader: true, Size: int64(len(data))},
			"both": {SizeInHeader: true, Size: int64(len(data)), EOSMarker: true}, "other properties": {EOSMarker: true, Properties: &writer.Properties{LC: 1, LP: 3, PB: 4}},
		} {
			file := written(t, data, c)
			got, err := lzma.Decode(file, len(data))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: Decode gives %d bytes, %v; want the %d that were compressed", name, how, len(got), err, len(data))
			}
		}
	}
}

// compatible: Boot | xz (Debian 12) | what xz compresses for the image is unpacked by the init
func TestDecodeOfXZ(t *testing.T) {
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("needs xz")
	}
	for name, data := range samples() {
		for _, preset := range []string{"-0", "-6", "-9e"} {
			cmd := exec.Command(xz, "--format=lzma", "--stdout", preset)
			cmd.Stdin = bytes.NewReader(data)
			file, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := lzma.Decode(file, len(data)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s by xz %s: Decode gives %d bytes, %v; want %d", name, preset, len(got), err, len(data))
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	data := samples()["text"]
	file := written(t, data, writer.WriterConfig{EOSMarker: true})
	sized := written(t, data, writer.WriterConfig{SizeInHeader: true, Size: int64(len(data))})
	for _, tt := range []struct {
		name string
		file []byte
		size int
		want error
	}{
		{"nothing", nil, 0, lzma.ErrFormat},
		{"a head only", file[:17], len(data), lzma.ErrFormat},
		{"properties that are none", append([]byte{225}, file[1:]...), len(data), lzma.ErrFormat},
		{"cut", file[:len(file)/2], len(data), lzma.ErrDamage},
		{"cut, with its size", sized[:len(sized)/2], len(data), lzma.ErrDamage},
		{"its last bytes are missing", sized[:len(sized)-4], len(data), lzma.ErrDamage},
		{"longer than said", file, len(data) - 1, lzma.ErrSize},
		{"shorter than said", file, len(data) + 1, lzma.ErrSize},
		{"another size in its head", sized, len(data) + 1, lzma.ErrSize},
	} {
		if got, err := lzma.Decode(tt.file, tt.size); !errors.Is(err, tt.want) {
			t.Errorf("%s: Decode gives %d bytes, %v; want %v", tt.name, len(got), err, tt.want)
		}
	}
}

// FuzzDecode: any input ends, without a panic and without more output than
// was asked for.
func FuzzDecode(f *testing.F) {
	for _, data := range samples() {
		f.Add(written(f, data[:min(len(data), 4000)], writer.WriterConfig{EOSMarker: true}), 4000)
	}
	f.Fuzz(func(t *testing.T, file []byte, size int) {
		size = min(max(size, 0), 1<<20)
		if got, err := lzma.Decode(file, size); err == nil && len(got) != size {
			t.Errorf("Decode gives %d bytes without an error, want %d", len(got), size)
		}
	})
}
