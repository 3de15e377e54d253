package luks2

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

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
}

const (
	areaSize         = (afSize + binSize - 1) / binSize * binSize
	randomPassphrase = 32 // bytes
	argonTime        = 4
	argonMemoryKiB   = 256 << 10
	argonCPUs        = 4
)

// newKeyslot chooses number, area and KDF, and writes nothing.
func (m metadata) newKeyslot(hdrSize int64, key NewKey) (Keyslot, error) {
	k := Keyslot{ID: key.Slot, Priority: 1, AFHash: "sha256", areaSize: areaSize}
	taken := func(id int) bool {
		return slices.ContainsFunc(m.keyslots, func(k Keyslot) bool { return k.ID == id })
	}
	if k.ID == AnySlot {
		for k.ID = 0; taken(k.ID); k.ID++ {
		}
	}

	if k.ID < 0 || k.ID >= maxObjects || taken(k.ID) {
		return k, reject("keyslot-count", "keyslot %d is not free", k.ID)
	}
	areas := slices.Clone(m.keyslots)
	slices.SortFunc(areas, func(a, b Keyslot) int { return int(a.areaOffset - b.areaOffset) })
	k.areaOffset = 2 * hdrSize
	for _, a := range areas {
		if a.areaOffset-k.areaOffset >= areaSize {
			break
		}
		k.areaOffset = (a.areaOffset + a.areaSize + binSize - 1) / binSize * binSize
	}

	if k.areaOffset+areaSize > 2*hdrSize+m.keyslotsSize {
		return k, reject("keyslot-area", "the keyslots area is full")
	}
	var err error
	k.KDF, err = newKDF(key)
	return k, err
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

// store writes the keyslot's area and reads it back.
func (k Keyslot) store(s Storage, volume, passphrase secret.Bytes) error {
	area := make([]byte, areaSize)
	afSplit(area[:afSize], volume.Reveal(), k.AFHash)
	rand.Read(area[afSize:])
	areaKey := k.KDF.derive(passphrase, keySize)
	defer areaKey.Wipe()
	newXTS(areaKey.Reveal()).encrypt(area[:afSize], ivSector, 0)
	if err := writeSync(s, area, k.areaOffset); err != nil {
		return fmt.Errorf("writing keyslot %d: %w", k.ID, err)
	}

	back := make([]byte, areaSize)
	if err := readFull(s, back, k.areaOffset); err != nil {
		return fmt.Errorf("reading keyslot %d back: %w", k.ID, err)
	}

	if !bytes.Equal(back, area) {
		return fmt.Errorf("reading keyslot %d back: the device returns other bytes", k.ID)
	}
	return nil
}
