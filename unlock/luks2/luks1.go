package luks2

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
)

// LUKS1 On-Disk Format Specification 1.2.3, section 2.3: phdr, big-endian.
const (
	phdrSize        = 592
	off1Cipher      = 8
	off1Mode        = 40
	off1Hash        = 72
	off1Payload     = 104
	off1KeyBytes    = 108
	off1Digest      = 112
	off1Salt        = 132
	off1Iterations  = 164
	off1UUID        = 168
	off1Slots       = 208
	nameSize1       = 32
	digestSize1     = 20
	slotSize1       = 48
	slots1          = 8
	slotEnabled     = 0x00ac71f3
	slotDisabled    = 0x0000dead
	slot1Iterations = 4
	slot1Salt       = 8
	slot1Offset     = 40 // of the key material, in sectors of 512 bytes
	slot1Stripes    = 44
)

// ReadLUKS1 is Read for LUKS1, which has one header and no checksum. The
// Header opens as any other and cannot be changed. It is apart from Read
// so that a program that does not call it does not accept LUKS1.
//
// luks.go, which opens LUKS1 too, is the oracle in the tests: it would put
// the key into the table as hex, where `dmsetup table --showkeys` shows it,
// put cipher names from the disk there as well, and read the device again
// after we judged it.
func ReadLUKS1(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	return Strict.ReadLUKS1(r, sizeBytes)
}

// ReadLUKS1 is the function ReadLUKS1 with other ciphers and hashes.
func (a Accept) ReadLUKS1(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	if sizeBytes < phdrSize {
		return nil, ErrNotLUKS
	}
	raw := make([]byte, phdrSize)
	if err := readFull(r, raw, 0); err != nil {
		return nil, &IOError{err}
	}

	if string(raw[:offVersion]) != magicPrimary || binary.BigEndian.Uint16(raw[offVersion:]) != 1 {
		return nil, ErrNotLUKS
	}
	h := &Header{format: luks1, raw: raw, other: CopySame, deviceSize: sizeBytes, rules: rules{accept: a}}
	var err error
	if h.uuid, err = canonicalUUID(cString(field(raw, off1UUID, uuidSize))); err != nil {
		return nil, err
	}

	j := &judgment{rules: h.rules}
	j.phdr(&h.meta, raw, sizeBytes)
	if j.err != nil {
		return nil, j.err
	}

	return h, nil
}

// phdr holds a LUKS1 header to the rules of a LUKS2 one.
func (j *judgment) phdr(m *metadata, raw []byte, deviceSize int64) {
	u32 := func(at int) int { return small(raw[at:]) }
	cipher := j.cipher(cString(field(raw, off1Cipher, nameSize1))+"-"+cString(field(raw, off1Mode, nameSize1)), "segment-cipher", "the cipher")
	hash := j.hash(cString(field(raw, off1Hash, nameSize1)), "digest-hash", "the hash")
	m.keyBytes = j.keySize(cipher, u32(off1KeyBytes), "keyslot-key-size", "the size of the key in bytes")
	m.digest = digest{hash: hash, iterations: u32(off1Iterations), salt: field(raw, off1Salt, saltSize), value: field(raw, off1Digest, digestSize1)}
	j.rule(m.digest.iterations >= minIterations && m.digest.iterations <= maxIterations, "digest-iterations", "the digest has %d iterations", m.digest.iterations)
	m.segment = Segment{Cipher: cipher, OffsetBytes: int64(binary.BigEndian.Uint32(raw[off1Payload:])) * ivSector, Dynamic: true, SectorBytes: ivSector}
	m.segment.SizeBytes = deviceSize - m.segment.OffsetBytes

	for id := range slots1 {
		at := off1Slots + id*slotSize1
		switch state := u32(at); state {
		case slotDisabled:
		case slotEnabled:
			m.slots = append(m.slots, j.slot1(m, id, raw[at:at+slotSize1]))
		default:
			j.rule(false, "keyslot-type", "keyslot %d is in state %#x", id, state)
		}
	}

	j.overlaps(slices.Clone(m.slots))
	j.segmentRange(m.segment, phdrSize, deviceSize)
}

// small reads a number that is far below 2³¹ in every good header. int has
// 32 bits on some machines; what does not fit is 0, which no rule accepts.
func small(b []byte) int {
	n := binary.BigEndian.Uint32(b)
	if n > math.MaxInt32 {
		return 0
	}
	return int(n)
}

// slot1 judges one enabled keyslot: its area for the whole, the rest by
// itself.
func (j *judgment) slot1(m *metadata, id int, raw []byte) slot {
	u32 := func(at int) int { return small(raw[at:]) }
	k := Keyslot{ID: id, Priority: 1, AFHash: m.digest.hash, KeyBytes: m.keyBytes, areaCipher: m.segment.Cipher, areaKeyBytes: m.keyBytes, areaOffset: int64(binary.BigEndian.Uint32(raw[slot1Offset:])) * ivSector}
	k.areaSize = k.cryptBytes()
	k.KDF = KDF{Type: "pbkdf2", Hash: m.digest.hash, Iterations: u32(slot1Iterations), salt: field(raw, slot1Salt, saltSize)}
	j.rule(k.areaOffset >= phdrSize && k.areaOffset+k.areaSize <= m.segment.OffsetBytes, "keyslot-area", "keyslot %d: %d bytes at %d are not between header and payload", id, k.areaSize, k.areaOffset)

	own := &judgment{}
	own.rule(k.KDF.Iterations >= minIterations && k.KDF.Iterations <= maxIterations, "kdf-iterations", "keyslot %d has %d iterations", id, k.KDF.Iterations)
	own.rule(u32(slot1Stripes) == stripes, "keyslot-af", "keyslot %d has %d stripes", id, u32(slot1Stripes))
	return slot{Keyslot: k, skip: own.err}
}
