package luks2

import (
	"bytes"
	"fmt"
	"io"
)

// proveBytes are looked at behind the payload's start and before the
// device's end: the second copies of GPT, md 1.0 and ZFS lie there.
const proveBytes = 1 << 20

// clearArea proves that nothing is overwritten, or zeros the area before
// the payload, so that no older header or keyslot is left there.
func (v NewVolume) clearArea(s Storage, payload int64) error {
	if !v.Overwrite {
		if err := proveEmpty(s, 0, min(payload+proveBytes, v.SizeBytes)); err != nil {
			return err
		}
		return proveEmpty(s, max(v.SizeBytes-proveBytes, 0), v.SizeBytes)
	}
	zeros := make([]byte, proveBytes)
	for at := int64(0); at < payload; at += proveBytes {
		if _, err := s.WriteAt(zeros[:min(proveBytes, payload-at)], at); err != nil {
			return fmt.Errorf("clearing the area before the payload: %w", err)
		}
	}
	return s.Sync()
}

// proveEmpty reads all of [from, to). A read error is an error, never
// emptiness.
func proveEmpty(r io.ReaderAt, from, to int64) error {
	buf := make([]byte, proveBytes)
	for at := from; at < to; at += proveBytes {
		b := buf[:min(proveBytes, to-at)]
		if err := readFull(r, b, at); err != nil {
			return &IOError{err}
		}
		if rest := bytes.TrimLeft(b, "\x00"); len(rest) > 0 {
			return reject("not-empty", "there is data at byte %d", at+int64(len(b)-len(rest)))
		}
	}
	return nil
}
