package luks2

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/order"
	"latchkey/internal/secret"
)

// NewKey is a passphrase to be put into a keyslot.
type NewKey struct {
	Passphrase secret.Bytes
	Slot       int // a free keyslot ID, or AnySlot

	// Random says that the passphrase holds at least 256 random bits. It
	// then needs no slow KDF: pbkdf2 with 1,000 iterations. What a person
	// types gets argon2id.
	Random bool

	// MemoryKiB is argon2id's memory; 0 means 256 MiB, which opens on a
	// machine with 512 MiB free.
	MemoryKiB int

	// Token, if set, makes a token that names the keyslot. One change writes
	// both: after a cut the header has both, or none of them.
	Token func(slot int) json.RawMessage
}

const (
	randomPassphrase = 32 // bytes
	argonTime        = 4
	argonMemoryKiB   = 256 << 10
	argonCPUs        = 4
)

// areaBytes is the size of a new keyslot's area: its stripes, in whole
// blocks of 4096 bytes as cryptsetup has them.
func areaBytes(keyBytes int) int64 {
	return (int64(keyBytes)*stripes + binSize - 1) / binSize * binSize
}

// newKeyslot chooses number, area and KDF, and writes nothing.
func (m *metadata) newKeyslot(hdrSize int64, keyBytes int, key NewKey) (Keyslot, error) {
	k, err := m.place(hdrSize, keyBytes, key.Slot)
	if err != nil {
		return k, err
	}
	k.KDF, err = newKDF(key)
	return k, err
}

// place chooses a free number and area.
func (m *metadata) place(hdrSize int64, keyBytes, id int) (Keyslot, error) {
	k := Keyslot{ID: id, Priority: 1, AFHash: "sha256", KeyBytes: keyBytes, areaCipher: Cipher, areaKeyBytes: keySize, areaSize: areaBytes(keyBytes)}
	if k.ID == AnySlot {
		for k.ID = 0; m.slot(k.ID) >= 0; k.ID++ {
		}
	}

	if k.ID < 0 || k.ID >= maxObjects || m.slot(k.ID) >= 0 {
		return k, reject("keyslot-count", "keyslot %d is not free", k.ID)
	}
	areas := slices.Clone(m.slots)
	order.By(areas, func(a, b slot) int { return cmp.Compare(a.areaOffset, b.areaOffset) })
	k.areaOffset = 2 * hdrSize
	for _, a := range areas {
		if a.areaOffset-k.areaOffset >= k.areaSize {
			break
		}
		k.areaOffset = (a.areaOffset + a.areaSize + binSize - 1) / binSize * binSize
	}

	if k.areaOffset+k.areaSize > 2*hdrSize+m.keyslotsSize {
		return k, reject("keyslot-area", "the keyslots area is full")
	}
	return k, nil
}

// Room is how many more keyslots fit into the header.
func (h *Header) Room(volume VolumeKey) (free int) {
	trial := metadata{slots: slices.Clone(h.meta.slots), keyslotsSize: h.meta.keyslotsSize}
	for {
		k, err := trial.place(int64(len(h.raw)), volume.key.Len(), AnySlot)
		if err != nil {
			return free
		}
		trial.slots = append(trial.slots, slot{Keyslot: k})
		free++
	}
}

func newKDF(key NewKey) (KDF, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	switch {
	case key.Passphrase.Len() == 0:
		return KDF{}, errors.New("the passphrase is empty")
	case key.Random && key.Passphrase.Len() < randomPassphrase:
		return KDF{}, fmt.Errorf("%d bytes cannot hold 256 random bits", key.Passphrase.Len())
	case key.Random:
		return KDF{Type: "pbkdf2", Hash: "sha256", Iterations: minIterations, salt: salt}, nil
	}

	k := KDF{Type: "argon2id", Time: argonTime, MemoryKiB: key.MemoryKiB, CPUs: argonCPUs, salt: salt}
	if k.MemoryKiB == 0 {
		k.MemoryKiB = argonMemoryKiB
	}
	if k.MemoryKiB < minMemoryKiB || k.MemoryKiB > maxMemoryKiB {
		return KDF{}, reject("kdf-memory", "%d KiB, accepted is %d to %d", k.MemoryKiB, minMemoryKiB, maxMemoryKiB)
	}

	return k, nil
}

// add puts a new keyslot, and its token, into the metadata.
func (m *metadata) add(k Keyslot, key NewKey) error {
	text, err := k.encode()
	if err != nil {
		return err
	}
	m.slots = append(m.slots, slot{Keyslot: k, text: text})
	m.digest.keyslots = append(slices.Clone(m.digest.keyslots), k.ID)
	slices.Sort(m.digest.keyslots)
	if key.Token == nil {
		return nil
	}

	token, id := key.Token(k.ID), m.freeToken()
	if err := checkToken(id, token); err != nil {
		return err
	}
	m.tokens = append(m.tokens, Token{ID: id, JSON: token})
	return nil
}

// seal is the keyslot's area. It runs the KDF, which may take seconds.
func (k Keyslot) seal(volume, passphrase secret.Bytes) []byte {
	area := make([]byte, k.areaSize)
	used := area[:k.cryptBytes()]
	afSplit(area[:k.stripeBytes()], volume.Reveal(), k.AFHash)
	rand.Read(area[k.stripeBytes():])
	areaKey := k.KDF.derive(passphrase, k.areaKeyBytes)
	defer areaKey.Wipe()
	newSectorCipher(k.areaCipher, areaKey.Reveal()).encrypt(used, ivSector, 0)
	return area
}

// store writes the keyslot's area and reads it back.
func (k Keyslot) store(s Storage, area []byte) error {
	if err := writeSync(s, area, k.areaOffset); err != nil {
		return fmt.Errorf("writing keyslot %d: %w", k.ID, err)
	}

	back := make([]byte, len(area))
	if err := readFull(s, back, k.areaOffset); err != nil {
		return fmt.Errorf("reading keyslot %d back: %w", k.ID, err)
	}

	if !bytes.Equal(back, area) {
		return fmt.Errorf("reading keyslot %d back: the device returns other bytes", k.ID)
	}
	return nil
}
