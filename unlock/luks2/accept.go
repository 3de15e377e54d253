package luks2

import (
	"errors"
	"io"
	"slices"
	"strings"
)

// Accept says which ciphers and hashes a header may name. A forged header
// must not choose a weak one, so whoever opens a volume says what it has.
type Accept int

const (
	// Strict is what cryptsetup makes unless somebody wants something else:
	// aes-xts-plain64 with SHA-256 or SHA-512.
	Strict Accept = iota + 1
	// Cryptsetup is also what it made earlier, and what people choose for
	// machines without AES instructions.
	Cryptsetup
)

// ReadAny reads a header of LUKS2 as Strict, or as Cryptsetup where Strict
// would refuse it or has no keyslot to try, and also one that is kept apart
// from its payload: for commands, whose user knows the volume. The plan of a
// boot says which it is; Header.Accept and Detached tell what it has to say.
func ReadAny(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	h, err := readAny(r, sizeBytes, sizeBytes, false)
	if err == nil {
		return h, nil
	}
	_, wide := Cryptsetup.Read(r, sizeBytes)
	if refused, ok := errors.AsType[*Rejected](wide); ok && refused.code == "segment-detached" {
		const unknown = 1 << 62 // bytes: whatever the payload is on
		return readAny(r, sizeBytes, unknown, true)
	}
	return h, err
}

func readAny(r io.ReaderAt, headerBytes, dataBytes int64, detached bool) (*Header, error) {
	h, err := Strict.read(r, headerBytes, dataBytes, detached)
	if errors.Is(err, ErrLUKS1) || err == nil && len(h.Skipped()) == 0 {
		return h, err
	}
	if wide, wideErr := Cryptsetup.read(r, headerBytes, dataBytes, detached); wideErr == nil && (err != nil || len(h.Keyslots()) == 0 && len(wide.Keyslots()) > 0) {
		return wide, nil
	}
	return h, err
}

// ReadSaved reads a header backup, of LUKS2 or LUKS1: a file that ends where
// the payload would begin. A device that is cut off there looks the same. For
// commands that only read.
func ReadSaved(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	const unknown = 1 << 62 // bytes: whatever the payload is on
	h, err := readAny(r, sizeBytes, unknown, false)
	if errors.Is(err, ErrLUKS1) {
		h, err = ReadAnyLUKS1(r, unknown)
	}
	if err != nil {
		return nil, err
	}
	if end := h.keyslotsEnd(); sizeBytes < end || sizeBytes > h.meta.segment.OffsetBytes {
		return nil, reject("segment-range", "the file of %d bytes ends neither between keyslots and payload nor behind it", sizeBytes)
	}
	h.saved = true
	return h, nil
}

// keyslotsEnd is where keyslots end, or may end.
func (h *Header) keyslotsEnd() (end int64) {
	if h.format == luks2 {
		return h.areasEnd()
	}
	for _, s := range h.meta.slots {
		end = max(end, s.areaOffset+s.areaSize)
	}
	return end
}

// Saved tells that it was read from a backup.
func (h *Header) Saved() bool { return h.saved }

// ReadAnyLUKS1 is ReadAny for LUKS1.
func ReadAnyLUKS1(r io.ReaderAt, sizeBytes int64) (*Header, error) {
	h, err := Strict.ReadLUKS1(r, sizeBytes)
	if wide, wideErr := Cryptsetup.ReadLUKS1(r, sizeBytes); err != nil && wideErr == nil {
		return wide, nil
	}
	return h, err
}

// Detached tells that the payload is on another device.
func (h *Header) Detached() bool { return h.detached }

// Accept is as what the header was read.
func (h *Header) Accept() Accept { return h.accept }

// Ciphers are those of the payload and of the keyslots, each once.
func (h *Header) Ciphers() []string {
	names := []string{h.meta.segment.Cipher}
	for _, s := range h.meta.slots {
		if s.skip == nil && !slices.Contains(names, s.areaCipher) {
			names = append(names, s.areaCipher)
		}
	}
	return names
}

// Ciphers are the names that are accepted.
func (a Accept) Ciphers() (names []string) {
	for _, s := range specs() {
		if a == Cryptsetup || s.name == Cipher {
			names = append(names, s.name)
		}
	}
	return names
}

// hashes are those of digests, keyslots and stripes. SHA-1 and RIPEMD-160
// are broken only for who makes two texts of one hash; they derive keys here.
func (a Accept) hashes() []string {
	if a == Cryptsetup {
		return []string{"sha256", "sha512", "sha1", "ripemd160"}
	}
	return []string{"sha256", "sha512"}
}

// cipher judges the name of a cipher, and gives it the one name it has here.
func (j *judgment) cipher(name, code, what string) string {
	canonical := name
	if kernel, ok := strings.CutPrefix(name, "capi:"); ok && j.accept == Cryptsetup {
		for _, s := range specs() {
			if s.kernel == kernel {
				canonical = s.name
			}
		}
	}
	j.rule(!strings.Contains(name, "cipher_null") && !strings.Contains(name, "ecb(null)"), code, "%s is %.80q, which encrypts nothing: it is never accepted", what, name)
	_, known := specOf(canonical)
	if j.accept != Cryptsetup && known && canonical != Cipher {
		j.rule(false, code, "%s is %.80q, accepted is %q, or this one if the plan says accept: cryptsetup", what, name, Cipher)
	}
	j.rule(slices.Contains(j.accept.Ciphers(), canonical), code, "%s is %.80q, accepted is %q", what, name, j.accept.Ciphers())
	return canonical
}

// hash judges the name of a hash.
func (j *judgment) hash(name, code, what string) string {
	if j.accept != Cryptsetup && slices.Contains(Cryptsetup.hashes(), name) {
		j.rule(slices.Contains(Strict.hashes(), name), code, "%s is %.32q, accepted is %q, or this one if the plan says accept: cryptsetup", what, name, Strict.hashes())
	}
	j.rule(slices.Contains(j.accept.hashes(), name), code, "%s is %.32q, accepted is %q", what, name, j.accept.hashes())
	return name
}

// keySize judges the size of a cipher's key in bytes.
func (j *judgment) keySize(cipher string, n int, code, what string) int {
	s, _ := specOf(cipher)
	j.rule(slices.Contains(s.keyBytes, n), code, "%s is %d, accepted is %d", what, n, s.keyBytes)
	return n
}
