package luks2

import (
	"crypto/rand"
	"fmt"

	"latchkey/internal/secret"
)

// NewVolume describes a volume to be made.
type NewVolume struct {
	UUID        string // empty: a random one
	Label       string // at most 47 bytes
	SectorBytes int    // 512, 1024, 2048 or 4096; 0 means 512
	SizeBytes   int64  // of the whole device
	OffsetBytes int64  // of the payload; 0 means 16 MiB, as cryptsetup has it

	// Overwrite formats also what is not proven empty.
	Overwrite bool
}

const (
	defaultOffset = 16 << 20
	newHeaderSize = minHeader
)

// Format makes a volume with one keyslot. The payload reads as noise until
// it is written. Unless v.Overwrite is set, an area that is not proven empty
// is a *Rejected with the code not-empty.
func Format(s Storage, v NewVolume, key NewKey) (*Header, VolumeKey, error) {
	h, volume, err := v.format(s, key)
	if err != nil {
		volume.Wipe()
		return nil, VolumeKey{}, fmt.Errorf("formatting a volume: %w", err)
	}
	return h, volume, nil
}

func (v NewVolume) format(s Storage, key NewKey) (*Header, VolumeKey, error) {
	bin, m, err := v.layout()
	if err != nil {
		return nil, VolumeKey{}, err
	}

	volume := VolumeKey{secret.Random(keySize), cString(field(bin, offUUID, uuidSize)), 0, luks2}
	if m.digest, err = newDigest(volume.key); err != nil {
		return nil, volume, err
	}
	slot, err := m.newKeyslot(newHeaderSize, keySize, key)
	if err != nil {
		return nil, volume, err
	}

	if err := m.add(slot, key); err != nil {
		return nil, volume, err
	}
	text, err := m.encode(newHeaderSize)
	if err != nil {
		return nil, volume, err
	}

	if _, err := judge(text, newHeaderSize, v.SizeBytes, rules{accept: Strict}); err != nil {
		return nil, volume, err
	}
	if err := v.clearArea(s, m.segment.OffsetBytes); err != nil {
		return nil, volume, err
	}

	if err := slot.store(s, slot.seal(volume.key, key.Passphrase)); err != nil {
		return nil, volume, err
	}
	for _, offset := range []int64{newHeaderSize, 0} {
		if err := writeSync(s, encodeCopy(bin, text, newHeaderSize, offset, 1), offset); err != nil {
			return nil, volume, fmt.Errorf("writing the header copy at %d: %w", offset, err)
		}
	}

	h, err := Read(s, v.SizeBytes)
	return h, volume, err
}

// layout is the binary header and the metadata without keyslots.
func (v NewVolume) layout() (bin []byte, m metadata, err error) {
	bin = make([]byte, binSize)
	if v.UUID == "" {
		v.UUID = randomUUID()
	}
	uuid, err := canonicalUUID(v.UUID)
	if err != nil {
		return nil, m, err
	}

	copy(bin[offUUID:], uuid)
	if len(v.Label) >= labelSize {
		return nil, m, reject("label", "the label has %d bytes, at most %d fit", len(v.Label), labelSize-1)
	}

	copy(bin[offLabel:], v.Label)
	if _, err := checkLabel(field(bin, offLabel, labelSize)); err != nil {
		return nil, m, err
	}

	m.segment = Segment{Cipher: Cipher, OffsetBytes: v.OffsetBytes, Dynamic: true, SectorBytes: v.SectorBytes}
	if v.SectorBytes == 0 {
		m.segment.SectorBytes = 512
	}
	if v.OffsetBytes == 0 {
		m.segment.OffsetBytes = defaultOffset
	}

	m.keyslotsSize = min(m.segment.OffsetBytes-2*newHeaderSize, maxKeyslots) &^ (binSize - 1)
	if m.keyslotsSize < areaBytes(keySize) {
		return nil, m, reject("segment-overlap", "a payload at %d leaves no room for a keyslot", m.segment.OffsetBytes)
	}

	if v.SizeBytes <= m.segment.OffsetBytes {
		return nil, m, reject("segment-range", "a device of %d bytes is too small for a payload at %d", v.SizeBytes, m.segment.OffsetBytes)
	}
	return bin, m, nil
}

// randomUUID is version 4: RFC 9562, section 5.4.
func randomUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
