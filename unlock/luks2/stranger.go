package luks2

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Stranger is a LUKS header that may break any of our rules: whose it is,
// for whoever is about to write over it. Nothing opens by it.
type Stranger struct {
	UUID         string // as text; not judged, but printable
	Type         string // LUKS2 or LUKS1
	Reencrypting bool   // and its new key is in this header alone

	raw      []byte
	offset   int64
	from, to int64 // where its keyslots are
}

// magicReencrypt is that of a LUKS1 header while its volume is encrypted anew
// (src/utils_reencrypt_luks1.c in cryptsetup).
const magicReencrypt = "LUKS\xde\xad"

// Recognize reads a header that Read refuses: nil if there is none, or if all
// copies are damaged.
func Recognize(r io.ReaderAt, sizeBytes int64) (*Stranger, error) {
	if sizeBytes < binSize {
		return nil, nil
	}
	bin := make([]byte, phdrSize)
	if err := readFull(r, bin, 0); err != nil {
		return nil, &IOError{err}
	}
	if magic := string(bin[:offVersion]); binary.BigEndian.Uint16(bin[offVersion:]) == 1 && (magic == magicPrimary || magic == magicReencrypt) {
		return strangerOf1(bin, sizeBytes), nil
	}

	var best *Stranger
	var seqID uint64
	for _, offset := range append([]int64{0}, secondaries()...) {
		raw, err := readStrange(r, offset, sizeBytes)
		if err != nil {
			return nil, &IOError{err}
		}
		if n := seqIDOf(raw); raw != nil && (best == nil || n > seqID) {
			best, seqID = strangerOf2(raw, offset, sizeBytes), n
		}
	}
	return best, nil
}

// secondaries are where a second copy may be.
func secondaries() (all []int64) {
	for at := int64(minHeader); at <= maxHeader; at *= 2 {
		all = append(all, at)
	}
	return all
}

func seqIDOf(raw []byte) uint64 {
	if raw == nil {
		return 0
	}
	return hdrCopy{raw: raw}.seqID()
}

// readStrange is readCopy with any checksum that we do not know: those that
// we know must be right.
func readStrange(r io.ReaderAt, offset, sizeBytes int64) ([]byte, error) {
	c := readCopy(r, offset, sizeBytes)
	if c.raw != nil || c.err == nil {
		return c.raw, nil
	}
	if !isRejected(c.err) {
		return nil, c.err
	}
	bin := make([]byte, binSize)
	if err := readFull(r, bin, offset); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint64(bin[offHdrSize:])) // judged by readCopy
	return raw, readFull(r, raw, offset)
}

// printable is a header's own word, safe for a terminal.
func printable(field []byte) string {
	text, _, _ := bytes.Cut(field, []byte{0})
	if uuid, err := canonicalUUID(string(text)); err == nil {
		return uuid
	}
	return fmt.Sprintf("%q", text)
}

func strangerOf1(raw []byte, sizeBytes int64) *Stranger {
	s := &Stranger{UUID: printable(field(raw, off1UUID, uuidSize)), Type: string(luks1), raw: raw, from: 1024}
	s.Reencrypting = string(raw[:offVersion]) == magicReencrypt
	u32 := func(at int) int64 { return int64(binary.BigEndian.Uint32(raw[at:])) }
	for id := range slots1 {
		at := off1Slots + id*slotSize1
		size := u32(off1KeyBytes) * min(u32(at+slot1Stripes), stripes)
		s.to = max(s.to, u32(at+slot1Offset)*ivSector+(size+ivSector-1)/ivSector*ivSector)
	}
	if payload := u32(off1Payload) * ivSector; payload > 0 {
		s.to = min(s.to, payload)
	}
	s.to = min(s.to, sizeBytes)
	return s
}

func strangerOf2(raw []byte, offset, sizeBytes int64) *Stranger {
	s := &Stranger{UUID: printable(field(raw, offUUID, uuidSize)), Type: string(luks2), raw: raw, offset: offset, from: 2 * int64(len(raw))}
	var words struct {
		Keyslots map[string]struct {
			Type string `json:"type"`
		} `json:"keyslots"`
		Config struct {
			KeyslotsSize string `json:"keyslots_size"`
			Requirements struct {
				Mandatory []string `json:"mandatory"`
			} `json:"requirements"`
		} `json:"config"`
	}
	text, _, _ := bytes.Cut(raw[binSize:], []byte{0})
	json.Unmarshal(text, &words) // what can be read of it
	s.Reencrypting = slices.ContainsFunc(words.Config.Requirements.Mandatory, func(name string) bool {
		return strings.HasPrefix(name, "online-reencrypt") || strings.HasPrefix(name, "offline-reencrypt")
	})
	for _, k := range words.Keyslots {
		s.Reencrypting = s.Reencrypting || k.Type == "reencrypt"
	}
	size, _ := digits(words.Config.KeyslotsSize)
	s.to = min(s.from+min(size, maxKeyslots), sizeBytes)
	return s
}

// Erase destroys all keyslots, as Header.Erase does. The header of LUKS2 is
// left as it is, and names keyslots that are noise; that of LUKS1 names none.
func (s *Stranger) Erase(d Storage) error {
	if s.to <= s.from {
		return reject("keyslot-area", "the header does not say where its keyslots are")
	}
	_, err := withLock(d, func() (*Header, error) {
		now := make([]byte, len(s.raw))
		if err := readFull(d, now, s.offset); err != nil {
			return nil, &IOError{err}
		}
		if !bytes.Equal(now, s.raw) {
			return nil, ErrChanged
		}
		if err := scramble(d, s.from, s.to); err != nil || s.Type == string(luks2) {
			return nil, err
		}
		return nil, writeSync(d, without1(now), 0)
	})
	if err != nil {
		return fmt.Errorf("erasing the keyslots of volume %s: %w", s.UUID, err)
	}
	return nil
}

// without1 is a LUKS1 header without keyslots (LUKS_del_key in cryptsetup's
// lib/luks1/keymanage.c).
func without1(raw []byte) []byte {
	for id := range slots1 {
		at := off1Slots + id*slotSize1
		binary.BigEndian.PutUint32(raw[at:], slotDisabled)
		clear(raw[at+slot1Iterations : at+slot1Offset])
	}
	return raw
}
