package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// counted is a reader that knows how far it is.
type counted struct {
	r *bufio.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func (c *counted) full(p []byte) error {
	_, err := io.ReadFull(c, p)
	return err
}

func (c *counted) skip(n int) (int, error) {
	n, err := c.r.Discard(n)
	c.n += n
	return n, err
}

// pad skips to a multiple of four bytes. At the end of an image the kernel
// wants no padding.
func (c *counted) pad() error {
	if _, err := c.skip(-c.n & 3); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// zeros skips those that are in the buffer, at least one.
func (c *counted) zeros() (int, error) {
	b, err := c.r.Peek(c.r.Buffered())
	if err != nil {
		return 0, err
	}
	return c.skip(len(b) - len(bytes.TrimLeft(b, "\x00")))
}

func (c *counted) peek() (byte, error) {
	b, err := c.r.Peek(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}
