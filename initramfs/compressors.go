package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	writer "github.com/ulikunitz/xz/lzma"

	"latchkey/internal/lzma"
)

// bestLevel is where the programs compress better than the libraries, and
// take their time.
const bestLevel = 19

// Compressors are the programs that compress, by their paths. Without one, or
// when it fails, a library does: its images are larger.
type Compressors struct {
	Zstd, XZ string

	mu     sync.Mutex
	failed []string // and why
}

// FindCompressors looks for the programs in PATH.
func FindCompressors() *Compressors {
	c := &Compressors{}
	c.Zstd, _ = exec.LookPath("zstd")
	c.XZ, _ = exec.LookPath("xz")
	return c
}

// Warnings tells which programs failed.
func (c *Compressors) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// words tells what compresses, for the output.
func (c *Compressors) words(level int) string {
	switch missing := strings.Join(c.missing(level), " and "); {
	case missing != "":
		return "compressed by latchkey itself where " + missing + " would make it smaller: install what is missing, and build again"
	case level < bestLevel:
		return fmt.Sprintf("compressed at level %d, and by xz %s", level, preset(level))
	}
	return "compressed by zstd and xz"
}

func (c *Compressors) missing(level int) (names []string) {
	if c.Zstd == "" && level >= bestLevel {
		names = append(names, "zstd")
	}
	if c.XZ == "" {
		names = append(names, "xz")
	}
	return names
}

// run has a program compress; nil if it could not, which is kept for the
// warnings.
func (c *Compressors) run(program string, data []byte, args ...string) []byte {
	if program == "" {
		return nil
	}
	cmd := exec.Command(program, args...)
	var out, words bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &words
	if err := cmd.Run(); err != nil {
		c.fail(fmt.Sprintf("%s: %v %.200s", program, err, strings.TrimSpace(words.String())))
		return nil
	}
	return out.Bytes()
}

func (c *Compressors) fail(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) == 0 { // a hundred blocks fail for one reason
		c.failed = append(c.failed, why+"; the image is compressed without it, and larger")
	}
}

// zstd compresses an archive. The window is 8 MiB at all levels: the kernel
// needs it beside the image.
func (c *Compressors) zstd(w io.Writer, level int, archive func(io.Writer) error) error {
	if level >= bestLevel && c.Zstd != "" {
		var plain bytes.Buffer
		if err := archive(&plain); err != nil {
			return err
		}
		if file := c.run(c.Zstd, plain.Bytes(), "--ultra", "-"+strconv.Itoa(level), "--zstd=wlog=23", "--single-thread", "-q", "-c"); file != nil {
			_, err := w.Write(file)
			return err
		}
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	if err := archive(z); err != nil {
		return err
	}
	return z.Close()
}

// lzma compresses a block, and unpacks it again: what the init could not read
// is in no image.
func (c *Compressors) lzma(data []byte, level int) ([]byte, error) {
	if file := c.run(c.XZ, data, "--format=lzma", preset(level), "--stdout", "--quiet"); file != nil && unpacks(file, data) {
		return file, nil
	} else if file != nil {
		c.fail(c.XZ + ": what it compressed is not what it was given")
	}
	var out bytes.Buffer
	w, err := writer.WriterConfig{Matcher: writer.HashTable4, DictCap: max(len(data), writer.MinDictCap), EOSMarker: true}.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if !unpacks(out.Bytes(), data) {
		return nil, fmt.Errorf("a block of %d bytes is not what was compressed", len(data))
	}
	return out.Bytes(), nil
}

// preset is that of xz for a level of zstd. For blocks -9 gives no more than
// -6, and takes longer.
func preset(level int) string {
	switch {
	case level >= bestLevel:
		return "-6"
	case level >= 9:
		return "-1"
	}
	return "-0"
}

func unpacks(file, data []byte) bool {
	got, err := lzma.Decode(file, len(data))
	return err == nil && bytes.Equal(got, data)
}
