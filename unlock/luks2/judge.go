package luks2

import (
	"encoding/json"
	"math"
	"strings"

	"latchkey/internal/order"
)

const (
	keySize     = 64        // bytes, of what is made here: two AES-256 keys
	saltSize    = 32        // LUKS_SALTSIZE in cryptsetup's lib/luks1/luks.h
	maxKeyslots = 128 << 20 // LUKS2_MAX_KEYSLOTS_SIZE in cryptsetup's lib/luks2/luks2.h

	minIterations = 1_000
	maxIterations = math.MaxInt32 // what json-c, and so cryptsetup, reads of an iteration count
)

// metadata is the JSON area once judged. Nothing in it is a string of the
// disk except token texts, token types and flag names.
type metadata struct {
	keyBytes     int // LUKS1: of the volume key; LUKS2 has it in each keyslot
	segment      Segment
	slots        []slot
	digest       digest   // of the segment
	unbound      []digest // of keyslots that are for no segment
	tokens       []Token
	flags        []string
	keyslotsSize int64
}

func judge(text []byte, hdrSize, deviceSize int64, r rules) (metadata, error) {
	var m metadata
	j := &judgment{rules: r}
	top := j.object(text, "the header", []string{"keyslots", "tokens", "segments", "digests", "config"})
	j.config(&m, top["config"], hdrSize)
	j.segment(&m, top["segments"], hdrSize, deviceSize)
	j.keyslots(&m, top["keyslots"], hdrSize)
	j.digests(&m, top["digests"])
	j.tokens(&m, top["tokens"])
	if j.err != nil {
		return metadata{}, j.err
	}
	return m, nil
}

// config judges the sizes of the areas and the requirements:
// specification, section 3.5.
func (j *judgment) config(m *metadata, raw json.RawMessage, hdrSize int64) {
	f := j.object(raw, "config", []string{"json_size", "keyslots_size"}, "flags", "requirements")
	size := j.decimal(f["json_size"], "config", "json_size")
	j.rule(size == hdrSize-binSize, "config", "json_size is %d, the area has %d bytes", size, hdrSize-binSize)
	m.keyslotsSize = j.decimal(f["keyslots_size"], "config", "keyslots_size")
	j.rule(m.keyslotsSize <= maxKeyslots && m.keyslotsSize%binSize == 0, "config", "keyslots_size is %d", m.keyslotsSize)

	if f["requirements"] != nil {
		req := j.object(f["requirements"], "requirements", []string{}, "mandatory")
		if req["mandatory"] != nil {
			names := j.names(req["mandatory"], "requirements")
			j.required(names)
		}
	}

	if f["flags"] != nil {
		m.flags = j.names(f["flags"], "flags")
	}
}

// required refuses all requirements: LUKS2_check_requirements in cryptsetup's
// lib/luks2/luks2_json_metadata.c, and what each means.
func (j *judgment) required(names []string) {
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "online-reencrypt") || strings.HasPrefix(name, "offline-reencrypt"):
			j.rule(false, "requirements", "the header requires %q: a reencryption that has not ended must end first (cryptsetup reencrypt --resume-only)", name)
		case name == "opal":
			j.rule(false, "segment-opal", "the drive encrypts by itself (OPAL), which is not opened here")
		case name == "inline-hw-tags":
			j.rule(false, "segment-integrity", "the drive keeps integrity tags (inline-hw-tags), which is not opened here")
		default:
			j.rule(false, "requirement-unknown", "the header requires %.80q, which is not known here", name)
		}
	}
}

func powerOfTwo(n int) bool { return n&(n-1) == 0 }

// names is a list of at most 32 short strings.
func (j *judgment) names(raw json.RawMessage, what string) (list []string) {
	if j.err == nil {
		err := json.Unmarshal(raw, &list)
		j.rule(err == nil && list != nil && len(list) <= maxObjects, "json-field", "%s is not a short list of strings", what)
	}
	return list
}

// segment judges the one segment: specification, section 3.3.
func (j *judgment) segment(m *metadata, raw json.RawMessage, hdrSize, deviceSize int64) {
	all := j.object(raw, "segments", nil)
	j.rule(len(all) == 1 && all["0"] != nil, "segment-count", "%d segments, accepted is one with the number 0", len(all))
	var kind struct {
		Type      string          `json:"type"`
		Flags     []string        `json:"flags"`
		Integrity json.RawMessage `json:"integrity"`
	}
	if j.err == nil { // the kind first: another kind has other fields
		err := json.Unmarshal(all["0"], &kind)
		j.rule(!strings.HasPrefix(kind.Type, "hw-opal"), "segment-opal", "the drive encrypts by itself (OPAL, segment type %.20q), which is not opened here", kind.Type)
		j.rule(kind.Integrity == nil, "segment-integrity", "the payload has integrity tags (%.80s), which is not opened here", kind.Integrity)
		j.rule(err == nil && kind.Type == "crypt", "segment-type", "segment 0 is not of type crypt")
		j.rule(len(kind.Flags) == 0, "segment-flags", "segment 0 has the flags %q", kind.Flags)
	}

	f := j.object(all["0"], "segment 0", []string{"type", "offset", "size", "iv_tweak", "encryption", "sector_size"}, "flags")
	j.oneOf(f["type"], "segment-type", "segment type", "crypt")
	cipher := j.cipher(j.text(f["encryption"], "segment cipher"), "segment-cipher", "segment cipher")
	j.oneOf(f["iv_tweak"], "segment-iv", "iv_tweak", "0")
	s := Segment{Cipher: cipher, SectorBytes: j.number(f["sector_size"], "segment-sector", "sector_size", 512, 4096)}
	j.rule(powerOfTwo(s.SectorBytes), "segment-sector", "sector_size is %d", s.SectorBytes)
	s.OffsetBytes = j.decimal(f["offset"], "segment-range", "segment offset")
	size := j.text(f["size"], "segment size")
	if s.Dynamic = size == "dynamic"; s.Dynamic {
		s.SizeBytes = deviceSize - s.OffsetBytes
	} else {
		s.SizeBytes = j.decimal(f["size"], "segment-range", "segment size")
	}
	if j.err == nil {
		j.segmentRange(s, 2*hdrSize+m.keyslotsSize, deviceSize)
	}

	m.segment = s
}

func (j *judgment) segmentRange(s Segment, areasEnd, deviceSize int64) {
	sector := int64(s.SectorBytes)
	j.rule(s.OffsetBytes > 0 || j.detached, "segment-detached", "the segment begins at 0: this header is kept apart from its payload (cryptsetup --header)")
	j.rule(s.OffsetBytes >= areasEnd || j.detached, "segment-overlap", "the segment begins at %d, the keyslots end at %d", s.OffsetBytes, areasEnd)
	j.rule(s.OffsetBytes < deviceSize && s.SizeBytes > 0 && s.SizeBytes <= deviceSize-s.OffsetBytes,
		"segment-range", "the segment of %d bytes at %d is not inside the device of %d bytes", s.SizeBytes, s.OffsetBytes, deviceSize)
	j.rule(s.OffsetBytes%sector == 0 && s.SizeBytes%sector == 0, "segment-align", "the segment of %d bytes at %d is not in whole sectors of %d", s.SizeBytes, s.OffsetBytes, sector)
}

// tokens judges only what all tokens share (specification, section 3.6);
// the rest belongs to the Source that knows the type.
func (j *judgment) tokens(m *metadata, raw json.RawMessage) {
	all := j.object(raw, "tokens", nil)
	for _, name := range sortedKeys(all) {
		t := Token{ID: j.id(name, "token", "token"), JSON: all[name]}
		f := j.object(all[name], "token "+name, nil)
		t.Type = j.text(f["type"], "token type")
		t.Keyslots = j.ids(f["keyslots"], "token", "token keyslots")
		for _, id := range t.Keyslots {
			j.rule(m.slot(id) >= 0, "token", "token %s names keyslot %d, which is not there", name, id)
		}
		m.tokens = append(m.tokens, t)
	}
	order.By(m.tokens, func(a, b Token) int { return a.ID - b.ID })
}
