// Package luks2 reads, judges, opens and writes LUKS2 headers.
//
// A header is read once into private memory, judged there by an exact
// allow-list, and opened from the same bytes: what is refused is never
// tried, and what is tried was judged. The package does no system calls:
// it takes readers and writers.
//
// The format is the LUKS2 On-Disk Format Specification 1.1.3; where that is
// silent, cryptsetup's behavior is the reference and its file is named.
package luks2

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"
	"unicode"
	"unicode/utf8"
)

// A Header is one LUKS header that keeps all our rules.
type Header struct {
	format     format
	raw        []byte // the copy in use, as read
	used       int64  // its offset
	other      CopyState
	headerSize int64 // of the device or file that the header is on
	deviceSize int64 // of the one that the payload is on
	rules
	saved bool // a backup alone, by ReadSaved

	uuid  string
	label string
	meta  metadata
}

// A format is a version of LUKS, written as the name of a mapping has it.
type format string

const (
	luks1 format = "LUKS1"
	luks2 format = "LUKS2"
)

// Segment is where the payload lies, and its cipher, whose IV starts at 0.
type Segment struct {
	Cipher      string // one of Accept.Ciphers, never the header's own text
	OffsetBytes int64
	SizeBytes   int64 // what the device leaves when Dynamic
	Dynamic     bool  // the segment reaches to the end of the device
	SectorBytes int   // 512, 1024, 2048 or 4096
}

// Keyslot is one way to the volume key.
type Keyslot struct {
	ID       int
	Priority int // 2 is tried first; 0 only when asked for by number
	KDF      KDF
	AFHash   string // of the anti-forensic merge
	KeyBytes int    // of the volume key

	areaCipher           string // encrypts the area: one of Accept.Ciphers
	areaKeyBytes         int    // of its key
	areaOffset, areaSize int64
}

// A SkippedKeyslot breaks a rule for keyslots. It opens nothing here and
// costs the others nothing; its area stays as it is.
type SkippedKeyslot struct {
	ID     int
	Reason *Rejected
}

// KDF turns a passphrase into the key of a keyslot area.
type KDF struct {
	Type       string // pbkdf2, argon2i or argon2id
	Hash       string // pbkdf2
	Iterations int    // pbkdf2
	Time       int    // argon2: passes
	MemoryKiB  int    // argon2
	CPUs       int    // argon2: lanes

	salt []byte
}

// Token is one token, as it stands in the header.
type Token struct {
	ID       int
	Type     string
	Keyslots []int
	JSON     json.RawMessage
}

// Read reads both header copies of a device of sizeBytes bytes and judges
// the one in use. It writes nothing, also when one copy is damaged. The
// error is a *Rejected (also ErrNotLUKS, ErrLUKS1, ErrDamaged) or an
// *IOError.
func Read(r io.ReaderAt, sizeBytes int64) (*Header, error) { return Strict.Read(r, sizeBytes) }

// Read is the function Read with other ciphers and hashes.
func (a Accept) Read(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	return a.read(r, sizeBytes, sizeBytes, false)
}

// ReadDetached reads a header of LUKS2 that is kept in a file, or on a device
// of its own, for a payload on a device of dataBytes bytes: cryptsetup
// --header. Keyslots are read from where the header is.
func (a Accept) ReadDetached(header io.ReaderAt, headerBytes, dataBytes int64) (*Header, error) {
	return a.read(header, headerBytes, dataBytes, true)
}

func (a Accept) read(r io.ReaderAt, headerBytes, dataBytes int64, detached bool) (*Header, error) {
	used, other, err := chooseCopy(r, headerBytes)
	if err != nil {
		return nil, err
	}

	h := &Header{format: luks2, raw: used.raw, used: used.offset, other: used.compare(other), headerSize: headerBytes, deviceSize: dataBytes, rules: rules{a, detached}}
	if h.uuid, err = canonicalUUID(cString(field(h.raw, offUUID, uuidSize))); err != nil {
		return nil, err
	}

	if h.label, err = checkLabel(field(h.raw, offLabel, labelSize)); err != nil {
		return nil, err
	}
	text, err := jsonText(h.raw[binSize:])
	if err != nil {
		return nil, err
	}

	h.meta, err = judge(text, int64(len(h.raw)), dataBytes, h.rules)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// UUID is the volume's UUID, lower-case with dashes.
func (h *Header) UUID() string { return h.uuid }

// Label is the volume's label, printable, perhaps empty.
func (h *Header) Label() string { return h.label }

// SeqID counts the changes of the header; 0 in LUKS1, which does not.
func (h *Header) SeqID() uint64 {
	if h.format == luks1 {
		return 0
	}
	return binary.BigEndian.Uint64(h.raw[offSeqID:])
}

// Segment is the payload.
func (h *Header) Segment() Segment { return h.meta.segment }

// Keyslots are the keyslots that can be tried, by ascending ID.
func (h *Header) Keyslots() (usable []Keyslot) {
	for _, s := range h.meta.slots {
		if s.skip == nil {
			usable = append(usable, s.Keyslot)
		}
	}
	return usable
}

// Skipped are the keyslots that cannot be tried, by ascending ID.
func (h *Header) Skipped() (skipped []SkippedKeyslot) {
	for _, s := range h.meta.slots {
		if s.skip != nil {
			skipped = append(skipped, SkippedKeyslot{s.ID, s.skip})
		}
	}
	return skipped
}

// Tokens are all tokens, by ascending ID.
func (h *Header) Tokens() []Token { return slices.Clone(h.meta.tokens) }

// Flags are the persistent activation flags in the header. They are only
// a wish of whoever wrote the header: the plan decides.
func (h *Header) Flags() []string { return slices.Clone(h.meta.flags) }

// OtherCopy tells how the header copy that is not in use compares. LUKS1
// has one header only: CopySame.
func (h *Header) OtherCopy() CopyState { return h.other }

// Type is LUKS2 or LUKS1.
func (h *Header) Type() string { return string(h.format) }

func field(raw []byte, offset, size int) []byte { return raw[offset : offset+size] }

// canonicalUUID lowers the 36-character form of RFC 9562, section 4.
func canonicalUUID(s string) (string, error) {
	b := bytes.ToLower([]byte(s))
	ok := len(b) == 36
	for i := 0; ok && i < len(b); i++ {
		switch i {
		case 8, 13, 18, 23:
			ok = b[i] == '-'
		default:
			ok = b[i] >= '0' && b[i] <= '9' || b[i] >= 'a' && b[i] <= 'f'
		}
	}
	if !ok {
		return "", reject("uuid", "%q is not a UUID", s)
	}
	return string(b), nil
}

// checkLabel refuses what could write on an operator's terminal.
func checkLabel(raw []byte) (string, error) {
	label := cString(raw)
	if label == "" && len(bytes.Trim(raw, "\x00")) > 0 || !utf8.ValidString(label) {
		return "", reject("label", "the label is not text that ends in zeros")
	}
	for _, r := range label {
		if !unicode.IsPrint(r) {
			return "", reject("label", "the label holds the character %U", r)
		}
	}
	return label, nil
}
