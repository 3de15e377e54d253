package luks2

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
)

// The JSON area as we write it, in the order of the specification's
// section 3. Segment and config are judged field by field (judge.go), so
// that writing them anew loses nothing. Keyslots, tokens and digests are
// written as they were read: those that we skip stay whole.
type (
	jsonHeader struct {
		Keyslots map[string]json.RawMessage `json:"keyslots"`
		Tokens   map[string]json.RawMessage `json:"tokens"`
		Segments map[string]jsonSegment     `json:"segments"`
		Digests  map[string]json.RawMessage `json:"digests"`
		Config   jsonConfig                 `json:"config"`
	}
	jsonKeyslot struct {
		Type    string   `json:"type"`
		KeySize int      `json:"key_size"`
		AF      jsonAF   `json:"af"`
		Area    jsonArea `json:"area"`
		KDF     jsonKDF  `json:"kdf"`
	}
	jsonAF struct {
		Type    string `json:"type"`
		Stripes int    `json:"stripes"`
		Hash    string `json:"hash"`
	}
	jsonArea struct {
		Type       string `json:"type"`
		Offset     int64  `json:"offset,string"`
		Size       int64  `json:"size,string"`
		Encryption string `json:"encryption"`
		KeySize    int    `json:"key_size"`
	}
	jsonKDF struct {
		Type       string `json:"type"`
		Hash       string `json:"hash,omitempty"`
		Iterations int    `json:"iterations,omitempty"`
		Time       int    `json:"time,omitempty"`
		Memory     int    `json:"memory,omitempty"`
		CPUs       int    `json:"cpus,omitempty"`
		Salt       []byte `json:"salt"`
	}
	jsonSegment struct {
		Type       string `json:"type"`
		Offset     int64  `json:"offset,string"`
		Size       string `json:"size"`
		IVTweak    string `json:"iv_tweak"`
		Encryption string `json:"encryption"`
		SectorSize int    `json:"sector_size"`
	}
	jsonDigest struct {
		Type       string   `json:"type"`
		Keyslots   []string `json:"keyslots"`
		Segments   []string `json:"segments"`
		Hash       string   `json:"hash"`
		Iterations int      `json:"iterations"`
		Salt       []byte   `json:"salt"`
		Digest     []byte   `json:"digest"`
	}
	jsonConfig struct {
		JSONSize     int64    `json:"json_size,string"`
		KeyslotsSize int64    `json:"keyslots_size,string"`
		Flags        []string `json:"flags,omitempty"`
	}
)

// encode is the JSON text of the metadata for a header of hdrSize bytes.
func (m metadata) encode(hdrSize int64) ([]byte, error) {
	h := jsonHeader{
		Keyslots: map[string]json.RawMessage{},
		Tokens:   map[string]json.RawMessage{},
		Digests:  map[string]json.RawMessage{},
		Config:   jsonConfig{hdrSize - binSize, m.keyslotsSize, m.flags},
	}

	for _, s := range m.slots {
		h.Keyslots[strconv.Itoa(s.ID)] = s.text
	}
	for _, d := range append(slices.Clone(m.unbound), m.digest) {
		text, err := withKeyslots(d.text, d.keyslots)
		if err != nil {
			return nil, err
		}
		h.Digests[strconv.Itoa(d.id)] = text
	}
	for _, t := range m.tokens {
		h.Tokens[strconv.Itoa(t.ID)] = t.JSON
	}

	s := m.segment
	size := "dynamic"
	if !s.Dynamic {
		size = strconv.FormatInt(s.SizeBytes, 10)
	}
	h.Segments = map[string]jsonSegment{"0": {"crypt", s.OffsetBytes, size, "0", s.Cipher, s.SectorBytes}}

	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(h); err != nil {
		return nil, err
	}

	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encode is the JSON of a new keyslot.
func (k Keyslot) encode() (json.RawMessage, error) {
	return json.Marshal(jsonKeyslot{
		Type: "luks2", KeySize: k.KeyBytes,
		AF:   jsonAF{"luks1", stripes, k.AFHash},
		Area: jsonArea{"raw", k.areaOffset, k.areaSize, k.areaCipher, k.areaKeyBytes},
		KDF:  jsonKDF{k.KDF.Type, k.KDF.Hash, k.KDF.Iterations, k.KDF.Time, k.KDF.MemoryKiB, k.KDF.CPUs, k.KDF.salt},
	})
}

// encodeCopy is the header copy for an offset: bin, a binary header, with
// fresh salt, its place, seqid and checksum, and the JSON text behind it.
func encodeCopy(bin, text []byte, hdrSize, offset int64, seqID uint64) []byte {
	raw := make([]byte, hdrSize)
	copy(raw, bin[:binSize])
	copy(raw, magicPrimary)
	if offset > 0 {
		copy(raw, magicSecondary)
	}

	binary.BigEndian.PutUint16(raw[offVersion:], 2)
	binary.BigEndian.PutUint64(raw[offHdrSize:], uint64(hdrSize))
	binary.BigEndian.PutUint64(raw[offSeqID:], seqID)
	binary.BigEndian.PutUint64(raw[offHdrOffset:], uint64(offset))
	rand.Read(field(raw, offSalt, saltFieldSize))
	clear(field(raw, offAlg, algSize))
	copy(raw[offAlg:], "sha256")
	copy(raw[binSize:], text)
	clear(field(raw, offChecksum, checksumSize))
	sum := checksum(raw)
	copy(raw[offChecksum:], sum[:])
	return raw
}
