package luks2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Storage is what a header is written to. *os.File is one.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all that was written survives a power cut.
	Sync() error
}

// ErrChanged means that somebody else changed the header since it was read.
var ErrChanged = errors.New("the header was changed meanwhile")

// change writes the header with other metadata and returns it as it then
// stands. First the copy not in use is written and synced, then the other
// one, so that at any moment one complete copy is on the disk. The new
// header is judged before it is written.
func (h *Header) change(s Storage, edit func(*metadata) error) (*Header, error) {
	hdrSize := int64(len(h.raw))
	if err := h.unchanged(s); err != nil {
		return nil, err
	}

	m := h.meta
	m.keyslots, m.tokens = slices.Clone(m.keyslots), slices.Clone(m.tokens)
	if err := edit(&m); err != nil {
		return nil, err
	}

	text, err := m.encode(hdrSize)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}

	if int64(len(text)) >= hdrSize-binSize {
		return nil, reject("json-size", "the header has no room for %d bytes of JSON", len(text))
	}
	if _, err := judge(text, hdrSize, h.deviceSize); err != nil {
		return nil, fmt.Errorf("judging the new header: %w", err)
	}

	for _, offset := range []int64{hdrSize - h.used, h.used} {
		if err := writeSync(s, encodeCopy(h.raw, text, hdrSize, offset, h.SeqID()+1), offset); err != nil {
			return nil, fmt.Errorf("writing the header copy at %d: %w", offset, err)
		}
	}

	return Read(s, h.deviceSize)
}

// unchanged reads the copy in use again. All changes begin with it.
func (h *Header) unchanged(r io.ReaderAt) error {
	if h.luks1 {
		return ErrLUKS1
	}
	now := make([]byte, len(h.raw))
	if err := readFull(r, now, h.used); err != nil {
		return &IOError{err}
	}
	if !bytes.Equal(now, h.raw) {
		return ErrChanged
	}
	return nil
}

func writeSync(s Storage, b []byte, offset int64) error {
	if _, err := s.WriteAt(b, offset); err != nil {
		return err
	}
	return s.Sync()
}
