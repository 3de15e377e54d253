package luks2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// chunkBytes is what one core encrypts at a time.
const chunkBytes = 1 << 20

// Encrypt writes plain, from the payload's start, encrypted to dst on all
// cores and returns the number of plain bytes. Zeros fill up the last
// sector; what is behind it stays as it is. Keyslots and header are not
// touched.
func (h *Header) Encrypt(ctx context.Context, dst io.WriterAt, volume VolumeKey, plain io.Reader) (int64, error) {
	if volume.uuid != h.uuid || !h.meta.digest.verifies(volume.key) {
		return 0, fmt.Errorf("encrypting volume %s: %w", h.uuid, ErrWrongKey)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := encrypter{dst: dst, plain: plain, segment: h.meta.segment, cipher: newSectorCipher(h.meta.segment.Cipher, volume.key.Reveal())}
	var group sync.WaitGroup

	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			if err := e.work(ctx); err != nil {
				cancel(err)
			}
		})
	}

	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, fmt.Errorf("encrypting volume %s: %w", h.uuid, err)
	}
	return e.at, nil
}

// An encrypter hands chunks of one stream to many workers.
type encrypter struct {
	dst     io.WriterAt
	segment Segment
	cipher  sectorCipher

	mu    sync.Mutex // guards what follows
	plain io.Reader
	at    int64
	done  bool
}

func (e *encrypter) work(ctx context.Context) error {
	buf := make([]byte, chunkBytes)
	defer clear(buf)
	for ctx.Err() == nil {
		n, at, err := e.next(buf)
		if err != nil || n == 0 {
			return err
		}
		sector := e.segment.SectorBytes
		whole := (n + sector - 1) / sector * sector
		clear(buf[n:whole])
		e.cipher.encrypt(buf[:whole], sector, uint64(at/ivSector))
		if _, err := e.dst.WriteAt(buf[:whole], e.segment.OffsetBytes+at); err != nil {
			return fmt.Errorf("writing the payload at %d: %w", at, err)
		}
	}

	return nil
}

// next reads one chunk and says where it belongs; 0 bytes is the end.
func (e *encrypter) next(buf []byte) (n int, at int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done {
		return 0, e.at, nil
	}

	n, err = io.ReadFull(e.plain, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.done, err = true, nil
	}
	if err != nil {
		e.done = true
		return 0, e.at, fmt.Errorf("reading the plain data at %d: %w", e.at, err)
	}

	at = e.at
	if at+int64(n) > e.segment.SizeBytes {
		e.done = true
		return 0, at, fmt.Errorf("the plain data is larger than the payload of %d bytes", e.segment.SizeBytes)
	}

	e.at += int64(n)
	return n, at, nil
}
