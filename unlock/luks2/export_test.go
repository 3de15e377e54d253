package luks2

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"

	"latchkey/internal/secret"
)

// XTS is the cipher, for the comparison with golang.org/x/crypto/xts.
func XTS(key, b []byte, sectorBytes int, iv uint64, encrypt bool) {
	if encrypt {
		newXTS(key).encrypt(b, sectorBytes, iv)
	} else {
		newXTS(key).decrypt(b, sectorBytes, iv)
	}
}

// Sectors runs any cipher that is accepted.
func Sectors(name string, key, b []byte, sectorBytes int, iv uint64, encrypt bool) {
	c := newSectorCipher(name, key)
	if encrypt {
		c.encrypt(b, sectorBytes, iv)
	} else {
		c.decrypt(b, sectorBytes, iv)
	}
}

// Serpent is the block cipher.
var Serpent = newSerpent

// Adiantum is the cipher with any tweak and length.
func Adiantum(key, b []byte, tweak [32]byte, rounds int, encrypt bool) {
	newAdiantum(key, rounds).(*adiantum).crypt(b, tweak, encrypt)
}

// KernelName is what the kernel's crypto API calls a cipher.
func KernelName(name string) string {
	s, _ := specOf(name)
	return s.kernel
}

// FormatAs is Format with another cipher in payload and keyslot. The salt of
// its digest is always the same.
func FormatAs(s Storage, v NewVolume, key NewKey, cipher string, keyBytes int) (*Header, VolumeKey, error) {
	bin, m, err := v.layout()
	if err != nil {
		return nil, VolumeKey{}, err
	}
	m.segment.Cipher = cipher
	volume := VolumeKey{secret.Own(bytes.Repeat([]byte{7}, keyBytes)), v.UUID, 0, luks2}
	d := digest{hash: "sha256", iterations: minIterations, salt: make([]byte, saltSize)}
	d.value = pbkdf2(sha256.New, volume.key, d.salt, d.iterations, sha256.Size).Reveal()
	if d.text, err = json.Marshal(jsonDigest{"pbkdf2", []string{}, []string{"0"}, d.hash, d.iterations, d.salt, d.value}); err != nil {
		return nil, VolumeKey{}, err
	}
	m.digest = d
	slot, err := m.newKeyslot(newHeaderSize, keyBytes, key)
	if err != nil {
		return nil, VolumeKey{}, err
	}
	slot.areaCipher, slot.areaKeyBytes = cipher, keyBytes
	if err := m.add(slot, key); err != nil {
		return nil, VolumeKey{}, err
	}
	text, err := m.encode(newHeaderSize)
	if err != nil {
		return nil, VolumeKey{}, err
	}
	if err := slot.store(s, slot.seal(volume.key, key.Passphrase)); err != nil {
		return nil, VolumeKey{}, err
	}
	for _, offset := range []int64{newHeaderSize, 0} {
		if err := writeSync(s, encodeCopy(bin, text, newHeaderSize, offset, 1), offset); err != nil {
			return nil, VolumeKey{}, err
		}
	}
	h, err := Cryptsetup.Read(s, v.SizeBytes)
	return h, volume, err
}
