package luks2

import "io"

// chooseCopy picks the header as cryptsetup does (LUKS2_disk_hdr_read in
// lib/luks2/luks2_disk_metadata.c): the higher seqid of the valid copies,
// the primary when they are equal. One difference: a copy with a valid
// checksum whose JSON breaks a rule is rejected by the caller, not passed
// over for the other one.
func chooseCopy(r io.ReaderAt, deviceSize int64) (used, other hdrCopy, err error) {
	first := readCopy(r, 0, deviceSize)
	if isRejected(first.err) {
		return first, other, first.err
	}

	second := readSecondary(r, first, deviceSize)
	if isRejected(second.err) {
		return first, second, second.err
	}

	switch {
	case first.raw != nil && (second.raw == nil || first.seqID() >= second.seqID()):
		return first, second, nil
	case second.raw != nil:
		return second, first, nil
	case first.err != nil:
		return first, second, &IOError{first.err}
	case first.magic || second.magic:
		return first, second, ErrDamaged
	}

	return first, second, ErrNotLUKS
}

// readSecondary reads the copy that the primary points at, or looks at
// each place where a secondary may be when there is no primary.
func readSecondary(r io.ReaderAt, first hdrCopy, deviceSize int64) hdrCopy {
	if first.raw != nil {
		return readCopy(r, int64(len(first.raw)), deviceSize)
	}
	var seen hdrCopy
	for offset := int64(minHeader); offset <= maxHeader; offset *= 2 {
		c := readCopy(r, offset, deviceSize)
		if c.raw != nil || isRejected(c.err) {
			return c
		}
		if c.magic {
			seen = c
		}
	}
	return seen
}
