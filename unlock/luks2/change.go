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

// A Locker is a Storage that other programs may write to as well. Each
// change holds the lock from its last look at the header to its last write.
type Locker interface {
	Storage
	Lock() (unlock func() error, err error)
}

// ErrChanged means that somebody else changed the header since it was read.
var ErrChanged = errors.New("the header was changed meanwhile")

// ErrCopyDamaged means that a change was refused because one of the two
// header copies is damaged: a power cut during the change could take the
// other one. Mend it first.
var ErrCopyDamaged = errors.New("one of the two header copies is damaged")

// An edit is what a change does.
type edit struct {
	metadata func(*metadata) error
	area     func() error // writes to a keyslot area, before the header; nil for none
}

// change writes the header with other metadata and returns it as it then
// stands. The new header is judged before anything is written.
func (h *Header) change(s Storage, e edit) (*Header, error) {
	if h.format == luks1 {
		return nil, ErrLUKS1
	}
	if h.other == CopyDamaged {
		return nil, ErrCopyDamaged
	}
	text, err := h.edited(e)
	if err != nil {
		return nil, err
	}

	return h.locked(s, func() error {
		if e.area != nil {
			if err := e.area(); err != nil {
				return err
			}
		}
		return h.writeBoth(s, text, h.SeqID()+1)
	})
}

// edited is the JSON text of the changed header, judged.
func (h *Header) edited(e edit) ([]byte, error) {
	m := h.meta
	m.slots, m.tokens = slices.Clone(m.slots), slices.Clone(m.tokens)
	if err := e.metadata(&m); err != nil {
		return nil, err
	}

	hdrSize := int64(len(h.raw))
	text, err := m.encode(hdrSize)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}

	if int64(len(text)) >= hdrSize-binSize {
		return nil, reject("json-size", "the header has no room for %d bytes of JSON", len(text))
	}
	if _, err := judge(text, hdrSize, h.deviceSize, h.rules); err != nil {
		return nil, fmt.Errorf("judging the new header: %w", err)
	}

	return text, nil
}

// Mend writes the header copy in use over the other one when that is stale
// or damaged, and changes nothing else.
func (h *Header) Mend(s Storage) (*Header, error) {
	if h.other == CopySame {
		return h, nil
	}
	after, err := h.locked(s, func() error {
		return h.writeCopy(s, int64(len(h.raw))-h.used, h.raw[binSize:], h.SeqID())
	})
	if err != nil {
		return nil, fmt.Errorf("mending the header of volume %s: %w", h.uuid, err)
	}
	return after, nil
}

// locked writes while nobody else does, if the header is still what was
// read, and reads the header anew.
func (h *Header) locked(s Storage, write func() error) (after *Header, err error) {
	return withLock(s, func() (*Header, error) {
		if err := h.unchanged(s); err != nil {
			return nil, err
		}
		if err := write(); err != nil {
			return nil, err
		}
		return h.accept.read(s, h.headerSize, h.deviceSize, h.detached)
	})
}

// withLock holds the lock of a Storage that has one.
func withLock(s Storage, do func() (*Header, error)) (after *Header, err error) {
	if l, ok := s.(Locker); ok {
		unlock, err := l.Lock()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	return do()
}

// unchanged reads the copy in use again.
func (h *Header) unchanged(r io.ReaderAt) error {
	now := make([]byte, len(h.raw))
	if err := readFull(r, now, h.used); err != nil {
		return &IOError{err}
	}
	if !bytes.Equal(now, h.raw) {
		return ErrChanged
	}
	return nil
}

func (h *Header) writeCopy(s Storage, offset int64, text []byte, seqID uint64) error {
	if err := writeSync(s, encodeCopy(h.raw, text, int64(len(h.raw)), offset, seqID), offset); err != nil {
		return fmt.Errorf("writing the header copy at %d: %w", offset, err)
	}
	return nil
}

func writeSync(s Storage, b []byte, offset int64) error {
	if _, err := s.WriteAt(b, offset); err != nil {
		return err
	}
	return s.Sync()
}
