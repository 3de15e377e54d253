package luks2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// proveBytes are looked at behind the payload's start and before the
// device's end: the second copies of GPT, md 1.0 and ZFS lie there.
const proveBytes = 1 << 20

// Between the two ends a device is looked at in sampleCount places, and where
// file systems keep copies of what they begin with: at 64 MiB and 256 GiB
// btrfs (btrfs_sb_offset in fs/btrfs/volumes.h), at 128 MiB ext4 of 4 KiB
// blocks, and at 24 MiB with blocks of 1 KiB.
const (
	sampleCount = 64
	sampleBytes = 64 << 10
)

var sampleAt = []int64{24 << 20, 64 << 20, 128 << 20, 256 << 30}

// proveSamples reads the places between the two ends.
func proveSamples(r io.ReaderAt, from, to, size int64) error {
	places := slices.Clone(sampleAt)
	for i := range int64(sampleCount) {
		places = append(places, size/sampleCount*i&^(binSize-1)) // xfs begins its groups at quarters
	}
	for _, at := range places {
		if at < from || at >= to {
			continue
		}
		if err := proveEmpty(r, at, min(at+sampleBytes, to)); err != nil {
			return err
		}
	}
	return nil
}

// clearArea proves that nothing is overwritten, or zeros the area before
// the payload, so that no older header or keyslot is left there.
func (v NewVolume) clearArea(s Storage, payload int64) error {
	if !v.Overwrite {
		return v.proveAll(s, payload)
	}
	zeros := make([]byte, proveBytes)
	for at := int64(0); at < payload; at += proveBytes {
		if _, err := s.WriteAt(zeros[:min(proveBytes, payload-at)], at); err != nil {
			return fmt.Errorf("clearing the area before the payload: %w", err)
		}
	}
	return s.Sync()
}

// proveAll proves that a device holds nothing, or says what it holds.
func (v NewVolume) proveAll(s Storage, payload int64) error {
	head, tail := min(payload+proveBytes, v.SizeBytes), max(v.SizeBytes-proveBytes, 0)
	err := proveEmpty(s, 0, head)
	if err == nil {
		err = proveEmpty(s, tail, v.SizeBytes)
	}
	if err == nil {
		err = proveSamples(s, head, tail, v.SizeBytes)
	}
	if full, ok := errors.AsType[*Rejected](err); ok {
		if what := whatIs(s, v.SizeBytes); what != "" {
			return reject(full.code, "%s: %s", full.what, what)
		}
	}
	return err
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
