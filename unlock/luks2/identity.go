package luks2

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"latchkey/internal/secret"
)

// A VolumeKey is the key of one volume. Copies share it: Wipe empties all.
type VolumeKey struct {
	key    secret.Bytes
	uuid   string
	digest int
	format format
}

// Bytes are the key's bytes, not a copy.
func (v VolumeKey) Bytes() secret.Bytes { return v.key }

// UUID is the volume's UUID, lower-case with dashes.
func (v VolumeKey) UUID() string { return v.uuid }

// DigestID is the number of the digest that verified the key. cryptsetup
// puts it into the name of the key in the kernel keyring.
func (v VolumeKey) DigestID() int { return v.digest }

// Format prints the UUID for every verb. Without it fmt would print the
// bytes of the key, because it calls no methods of unexported fields.
func (v VolumeKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key of volume %s", v.uuid) }

// Type is LUKS2 or LUKS1.
func (v VolumeKey) Type() string { return string(v.format) }

// Wipe overwrites the key.
func (v VolumeKey) Wipe() { v.key.Wipe() }

// MAC is HMAC-SHA256(key, "latchkey volume" ‖ UUID): it tells whether this
// is the volume that was enrolled, without telling the key.
func (v VolumeKey) MAC() [32]byte {
	mac := hmac.New(sha256.New, v.key.Reveal())
	mac.Write([]byte("latchkey volume" + v.uuid))
	return [32]byte(mac.Sum(nil))
}

// SubsetDigest is SHA-256 over what makes the header the one of this
// volume, and never over keyslots, tokens or seqid, which change in use:
//
//	"latchkey header subset 1"  24 bytes, no terminator
//	UUID                        36 bytes, lower-case text
//	segment offset              8 bytes, big-endian, in bytes
//	segment size                8 bytes, in bytes; 0 means dynamic
//	segment sector size         4 bytes
//	digest iterations           4 bytes
//	digest salt                 32 bytes
//	digest value                32 bytes
//
// The first two fields are others in
//
//	LUKS1                       "latchkey LUKS1 subset 1 ", UUID, space,
//	                            hash, space, key size in 4 bytes
//	LUKS2 with another digest   "latchkey header subset 2", UUID, space,
//	than 32 bytes of SHA-256    hash, space
//	another cipher than         "latchkey header subset 3", UUID, space, LUKS1
//	aes-xts-plain64             or LUKS2, space, cipher, space, hash, space,
//	                            key size in 4 bytes (0 in LUKS2)
//
// and the digest value is as long as the header has it. All else about the
// segment and the digest is fixed by the header rules (IV offset 0, pbkdf2).
func (h *Header) SubsetDigest() [32]byte {
	s, d := h.meta.segment, h.meta.digest
	size := s.SizeBytes
	if s.Dynamic {
		size = 0
	}

	var b []byte
	switch {
	case s.Cipher != Cipher:
		b = []byte("latchkey header subset 3" + h.uuid + " " + string(h.format) + " " + s.Cipher + " " + d.hash + " ")
		b = binary.BigEndian.AppendUint32(b, uint32(h.meta.keyBytes))
	case h.format == luks1:
		b = []byte("latchkey LUKS1 subset 1 " + h.uuid + " " + d.hash + " ")
		b = binary.BigEndian.AppendUint32(b, uint32(h.meta.keyBytes))
	case d.hash == "sha256" && len(d.value) == sha256.Size:
		b = []byte("latchkey header subset 1" + h.uuid)
	default:
		b = []byte("latchkey header subset 2" + h.uuid + " " + d.hash + " ")
	}

	b = binary.BigEndian.AppendUint64(b, uint64(s.OffsetBytes))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint32(b, uint32(s.SectorBytes))
	b = binary.BigEndian.AppendUint32(b, uint32(d.iterations))
	b = append(b, d.salt...)
	b = append(b, d.value...)
	return sha256.Sum256(b)
}
